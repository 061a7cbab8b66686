"""What the tests of pages share: a page as AppTest has it, and all that it says."""

from collections.abc import Callable

from streamlit.testing.v1 import AppTest

Opened = Callable[..., AppTest]


def said(test: AppTest) -> str:
    """All text of a page that Markdown would read."""
    kinds = (test.title, test.markdown, test.caption, test.error)
    return "\n".join(str(one.value) for kind in kinds for one in kind)
