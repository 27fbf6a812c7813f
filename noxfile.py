"""The checks by parts, each in an environment of its own: ``nox --list``. All of them at once: ``.ci/run``."""

import nox

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "venv"
nox.options.sessions = ["lint", "fast"]

#: All that the wheel's code uses; pip takes groups from this version on.
EXTRAS = ".[cpu,openvino,rtx,node,demo]"
PIP = "pip>=25.1"


def install(session: nox.Session, *packages: str) -> None:
    """Install the clone with its extras, and groups."""
    session.install("--upgrade", PIP)
    session.install("-e", *packages)


@nox.session
def lint(session: nox.Session) -> None:
    """Lint, format, types, layers. Types of training and export need their packages."""
    install(session, EXTRAS, "--group", "lint", "--group", "export", "--group", "bench")
    session.run("bash", ".ci/lint", external=True)


@nox.session
def fast(session: nox.Session) -> None:
    """The fast tests, on two cores; arguments after -- go to pytest."""
    install(session, ".[cpu,dicom]", "--group", "test")
    session.run("pytest", "-m", "fast", "-n", "2", *session.posargs)


@nox.session
def full(session: nox.Session) -> None:
    """All tests; arguments after -- go to pytest."""
    install(session, EXTRAS, "--group", "dev")
    session.run("pytest", "-n", "2", *session.posargs, env={"CXR_EDGE_TESTS": "all"})


@nox.session
def oldest(session: nox.Session) -> None:
    """Some tests with the oldest versions that pyproject.toml allows."""
    install(session, ".[cpu,dicom]", "--group", "test")
    session.install("uv")
    session.run("pytest", "tests/test_oldest.py", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """The pages as a site, in docs/_build."""
    install(session, ".[cpu]", "--group", "docs")
    session.run("sphinx-build", "-W", "-n", "-c", "docs", ".", "docs/_build", *session.posargs)
