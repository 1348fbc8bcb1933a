import pytest
from looking import visiting
from running import running


@pytest.fixture(scope="module")
def studio(tmp_path_factory):
    """A studio in a process of its own, that meets no bug."""
    with running(tmp_path_factory.mktemp("studio")) as studio:
        yield studio
    assert "Traceback" not in studio.log


@pytest.fixture
def page(browser, studio):
    """Its page, opened by somebody new."""
    with visiting(browser, studio.url) as page:
        yield page
