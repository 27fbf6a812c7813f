"""MLPerf Inference's edge scenarios, driven by MLCommons' LoadGen, whose figures these are; no MLPerf results."""
