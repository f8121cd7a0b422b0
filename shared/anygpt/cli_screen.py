"""An answer in a terminal while it streams: text in its lines, progress as bars below them, never over them."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

    from anygpt.v1 import anygpt_service_pb2


@dataclass(slots=True)
class Screen:
    """Prints to a console. Bars are drawn only where no line of text is open, for drawing erases the open line."""

    console: Console
    _works: dict[int, anygpt_service_pb2.Progress] = field(default_factory=dict)
    _bars: dict[int, TaskID] = field(default_factory=dict)
    _live: Progress | None = None
    _is_open: bool = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._hide()
        self._end_line()

    def text(self, piece: str) -> None:
        """Add to the open line."""
        self._hide()
        self._write(piece, end="")
        self._is_open = not piece.endswith("\n")

    def line(self, whole: str) -> None:
        """Print a line of its own."""
        self._hide()
        self._end_line()
        self._write(whole)
        self._show()

    def progress(self, place: int, work: anygpt_service_pb2.Progress) -> None:
        """Tell how far the work on a span is."""
        self._works[place] = work
        if self._live is not None and place in self._bars:
            self._live.update(self._bars[place], completed=work.done, total=work.total)
        else:
            self._show()

    def finish(self, place: int) -> None:
        """End a span: its bar, or its line."""
        if self._works.pop(place, None) is None:
            self._end_line()
        self._hide()
        self._show()

    def _show(self) -> None:
        from rich.progress import Progress

        self._hide()
        if self._is_open or not self._works or not self.console.is_terminal:
            return
        self._live = Progress(console=self.console, transient=True)
        for place, work in sorted(self._works.items()):
            name = work.stage.replace("_", " ")
            self._bars[place] = self._live.add_task(name, total=work.total, completed=work.done)
        self._live.start()

    def _hide(self) -> None:
        if self._live is not None:
            self._live.stop()
        self._live = None
        self._bars.clear()

    def _end_line(self) -> None:
        if self._is_open:
            self._write("")
        self._is_open = False

    def _write(self, text: str, end: str = "\n") -> None:
        self.console.print(text, end=end, markup=False, highlight=False, soft_wrap=True)
