"""The forms of appointments. Times are typed as the clocks of one's zone show them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from wtforms import DateTimeLocalField, Field, HiddenField, StringField, TextAreaField, ValidationError
from wtforms.validators import InputRequired, Length

from . import local_time
from .diary import LONGEST_NOTES, LONGEST_TITLE, Appointment, Plan
from .forms import SiteForm, plain

#: What browsers send from the field, and what people type where a browser has no such field.
FORMATS = ["%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M"]
#: The years in which there are appointments. It keeps what is typed far from the ends of the calendar.
YEARS = range(1970, 2101)

#: Digits that a version never has: its column's integers have ten at most.
_DIGITS = 10


class MomentField(DateTimeLocalField):
    """A day and a time of day."""

    def process_formdata(self, valuelist: list[str]) -> None:
        """Read it."""
        try:
            super().process_formdata(valuelist)
        except ValueError:
            raise ValueError("Give a day and a time, such as 2026-11-23 14:30.") from None


class VersionForm(SiteForm):
    """What says which version of an appointment its author has seen."""

    version = HiddenField()

    @property
    def seen(self) -> int:
        """That version; 0, which none is, if the form does not say."""
        text = str(self.version.data)
        return int(text) if text.isdecimal() and text.isascii() and len(text) < _DIGITS else 0


class AppointmentForm(VersionForm):
    """What, from when, until when.

    ``zone`` is that of the times. ``present`` is the appointment that is to be changed; None for a new one.
    """

    title = StringField(
        "What",
        [
            InputRequired("Say what it is."),
            Length(max=LONGEST_TITLE, message=f"Take at most {LONGEST_TITLE} characters."),
            plain,
        ],
        filters=[lambda text: (text or "").strip()],
    )
    starts = MomentField("From", [InputRequired("Say when it begins.")], format=FORMATS)
    ends = MomentField("Until", [InputRequired("Say when it ends.")], format=FORMATS)
    notes = TextAreaField(
        "Notes",
        [Length(max=LONGEST_NOTES, message=f"Take at most {LONGEST_NOTES:,} characters."), plain],
        filters=[lambda text: "\n".join((text or "").splitlines()).strip()],
    )

    def __init__(
        self,
        formdata: Mapping[str, Any],
        zone: ZoneInfo,
        present: Appointment | None = None,
        **defaults: Any,
    ) -> None:
        self._zone, self._present = zone, present
        self._moments: dict[str, datetime] = {}
        if present is not None:
            defaults = {
                "title": present.title,
                "notes": present.notes,
                "version": present.version,
                "starts": local_time.clock_face(present.starts, zone),
                "ends": local_time.clock_face(present.ends, zone),
            }
        super().__init__(formdata, **defaults)

    def validate_title(self, field: Field) -> None:
        """Refuse a title that is only spaces."""
        if not field.data:
            raise ValidationError("Say what it is.")

    def validate_starts(self, field: Field) -> None:
        """Find the moment at which it begins."""
        self._find(field)

    def validate_ends(self, field: Field) -> None:
        """Find the moment at which it ends, which is a later one."""
        self._find(field)
        if {"starts", "ends"} <= self._moments.keys() and self._moments["ends"] <= self._moments["starts"]:
            raise ValidationError("It has to end later than it begins.")

    def plan(self) -> Plan:
        """Return what is wanted. Only of a form that is valid."""
        return Plan(self.title.data, self.notes.data, self._moments["starts"], self._moments["ends"])

    def _find(self, field: Field) -> None:
        shown: datetime | None = field.data
        if shown is None:  # which the field has said already
            return
        if shown.year not in YEARS:
            raise ValidationError(f"Take a year from {YEARS[0]} to {YEARS[-1]}.")
        present: datetime | None = getattr(self._present, field.name, None)
        if present is not None and local_time.clock_face(present, self._zone) == shown:
            # Left as it was. It may be the second of two moments at which clocks show that time.
            self._moments[field.name] = present
            return
        try:
            self._moments[field.name] = local_time.instant(shown, self._zone)
        except local_time.NoSuchTimeError:
            raise ValidationError(
                f"There is no {shown:%H:%M} on that day: clocks are set forward over it. Take another time."
            ) from None
