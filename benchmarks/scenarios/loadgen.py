"""LoadGen and the system under test; the only module that imports LoadGen's package."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from benchmarks.scenarios.boundaries import Boundary
from benchmarks.scenarios.scenario import Scenario

try:
    import mlperf_loadgen as loadgen
except ModuleNotFoundError as missing:
    raise ModuleNotFoundError(
        "the scenarios are driven by MLCommons' LoadGen, which is not installed: pip install mlcommons-loadgen"
    ) from missing


class SystemUnderTest:
    """Answers LoadGen's queries.

    Every sample is completed, failed or not: LoadGen waits for all of them, and an exception in its callback ends the
    process. After a failure the remaining samples are completed without work, so that the run ends soon.

    Attributes
    ----------
    error : Exception or None
        The first failure.
    """

    def __init__(self, boundary: Boundary, workers: int) -> None:
        self.error: Exception | None = None
        self._stopped = False
        self._boundary = boundary
        # One image at a time runs in LoadGen's own thread, so that no hand-over counts as latency.
        self._pool = ThreadPoolExecutor(workers) if workers > 1 else None

    def take(self, queries: Sequence[loadgen.QuerySample]) -> None:
        """Process the samples of a query; LoadGen calls this."""
        for query in queries:
            if self._pool is None:
                self._answer(query.id, query.index)
            else:
                self._pool.submit(self._answer, query.id, query.index)

    def flush(self) -> None:
        """Do nothing: no sample waits for more queries; LoadGen calls this."""

    def stop(self) -> None:
        """Complete all further samples without work."""
        self._stopped = True

    def close(self) -> None:
        """Wait for the threads to end."""
        if self._pool is not None:
            self._pool.shutdown()

    def _answer(self, query: int, index: int) -> None:
        try:
            if not self._stopped:
                self._boundary.run(self._boundary.samples[index])
        except Exception as error:  # `measure` raises it once LoadGen has ended
            self.error = self.error or error
            self.stop()
        finally:
            loadgen.QuerySamplesComplete([loadgen.QuerySampleResponse(query, 0, 0)])


def settings_for(scenario: Scenario, seconds: float, per_sample: float) -> loadgen.TestSettings:
    """Return settings for a run of at least `seconds`, where a sample takes about `per_sample` seconds."""
    settings = loadgen.TestSettings()
    settings.scenario = getattr(loadgen.TestScenario, scenario.value)
    settings.mode = loadgen.TestMode.PerformanceOnly
    settings.min_duration_ms = round(seconds * 1e3)
    settings.min_query_count = 1
    # LoadGen prepares its queries by the expected latency, and ends early if they run out: half the latency of the
    # warm-up gives enough. Offline has one query of 1.1 times the samples that are expected to fit into the duration.
    settings.single_stream_expected_latency_ns = round(per_sample * 1e9 / 2)
    settings.multi_stream_expected_latency_ns = round(per_sample * settings.multi_stream_samples_per_query * 1e9 / 2)
    settings.offline_expected_qps = 1.1 / per_sample
    return settings


def drive(system: SystemUnderTest, count: int, settings: loadgen.TestSettings, folder: str) -> None:
    """Run LoadGen to its end, in a thread of its own, so that Ctrl-C does not interrupt one of its callbacks."""
    logs = loadgen.LogSettings()
    logs.log_output.outdir = folder
    logs.log_output.copy_summary_to_stdout = False
    logs.enable_trace = False
    sut = loadgen.ConstructSUT(system.take, system.flush)
    library = loadgen.ConstructQSL(count, count, lambda _: None, lambda _: None)  # the images are in memory already
    try:
        with ThreadPoolExecutor(1) as driver:
            try:
                driver.submit(loadgen.StartTestWithLogSettings, sut, library, settings, logs).result()
            except KeyboardInterrupt:
                system.stop()
                raise
    finally:
        loadgen.DestroyQSL(library)
        loadgen.DestroySUT(sut)
