"""MLPerf Inference's edge scenarios, measured by MLCommons' LoadGen. These are not MLPerf results."""
