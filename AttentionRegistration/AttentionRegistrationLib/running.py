"""The panel while something runs and after it: button, bar, sentence, time left, log."""

from __future__ import annotations

import html
import time
from collections.abc import Callable
from typing import Any

from slicer.i18n import tr as _

_FIRST_GUESS_S = 2.0
_FIRST_FRACTION = 0.03
_BAR = 1000


def time_left_s(fraction: float, elapsed_s: float) -> float | None:
    """Return the seconds that are left if the rest goes as fast as what is done; None: too early to say."""
    if elapsed_s < _FIRST_GUESS_S or not _FIRST_FRACTION <= fraction <= 1:
        return None
    return elapsed_s * (1 - fraction) / fraction


def spoken(seconds: float) -> str:
    """Return a duration as somebody would say it."""
    if seconds < 10:
        return _("a few seconds")
    if seconds < 90:
        return _("about {count} s").format(count=round(seconds / 5) * 5)
    return _("about {count} min").format(count=round(seconds / 60))


class Running:
    """Shows how a registration goes.

    Args:
        ui: the panel's widgets.
        clock: seconds since some moment.
    """

    def __init__(self, ui: Any, clock: Callable[[], float] = time.monotonic) -> None:
        self._ui = ui
        self._clock = clock
        self._started = 0.0
        self._stage = ""
        self.elapsed_s = 0.0
        ui.progressBar.setVisible(False)

    def start(self, sentence: str) -> None:
        """Turn Register into Cancel."""
        self._started, self._stage = self._clock(), ""
        self._ui.registerButton.setText(_("&Cancel"))
        self._ui.registerButton.setToolTip(_("Stop the registration; the scene stays as it is."))
        self._ui.registerButton.setEnabled(True)
        self._ui.progressBar.setValue(0)
        self._ui.progressBar.setVisible(True)
        self.say(sentence)
        self.log(sentence)

    def progress(self, fraction: float, stage: str, message: str) -> None:
        """Move the bar."""
        left = time_left_s(fraction, self._clock() - self._started)
        self._ui.progressBar.setValue(round(fraction * _BAR))
        doing = stage[:1].upper() + stage[1:]
        self.say(_("{stage}: {time} left").format(stage=doing, time=spoken(left)) if left is not None else f"{doing} …")
        if stage != self._stage:
            self.log(doing)
        if message and message != stage:
            self.log(f"{doing}: {message}")
        self._stage = stage

    def cancelling(self) -> None:
        """Cancel was pressed."""
        self._ui.registerButton.setEnabled(False)
        self.say(_("Cancelling …"))
        self.log(_("Cancelled by the user."))

    def stop(self) -> None:
        """Turn Cancel into Register."""
        self.elapsed_s = self._clock() - self._started
        self._ui.registerButton.setText(_("&Register"))
        self._ui.registerButton.setToolTip(_("Register the moving volume to the fixed one."))
        self._ui.progressBar.setVisible(False)

    def say(self, sentence: str, loud: bool = False) -> None:
        """Show a sentence under the button."""
        text = html.escape(sentence)
        self._ui.sentence.setText(f"<b>{text}</b>" if loud else text)

    def log(self, text: str) -> None:
        """Add to the log."""
        self._ui.log.appendPlainText(f"{time.strftime('%H:%M:%S')}  {text}")
