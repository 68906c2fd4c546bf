"""The forms for appointments. Users enter times in their own time zone."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from wtforms import DateTimeLocalField, Field, HiddenField, StringField, TextAreaField, ValidationError
from wtforms.validators import InputRequired, Length

from . import local_time
from .diary import MAX_NOTES_LENGTH, MAX_TITLE_LENGTH, Appointment, AppointmentDraft
from .forms import SiteForm, refuse_control_characters

#: The format that browsers send, and the format that people type in a browser without such a field.
FORMATS = ["%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M"]
#: The years in which appointments may be. Dates near the year 1 or 9999 would overflow in another time zone.
YEARS = range(1970, 2101)

#: A version has fewer digits than this. A longer number would not fit into the database's integers.
_TOO_MANY_DIGITS = 10


class MomentField(DateTimeLocalField):
    """A field for a date and a time of day."""

    def process_formdata(self, valuelist: list[str]) -> None:
        """Read the value that was sent."""
        try:
            super().process_formdata(valuelist)
        except ValueError:
            raise ValueError("Enter a date and a time, such as 2026-11-23 14:30.") from None


class VersionForm(SiteForm):
    """A form with a hidden field for the version of the appointment that the page showed."""

    version = HiddenField()

    @property
    def shown_version(self) -> int:
        """The version that the page showed; 0, which no appointment has, if the form has none."""
        text = str(self.version.data)
        return int(text) if text.isdecimal() and text.isascii() and len(text) < _TOO_MANY_DIGITS else 0


class AppointmentForm(VersionForm):
    """The form for a new appointment and for changes.

    ``zone`` is the time zone of the form. ``appointment`` is the appointment to change; None for a new one.
    """

    title = StringField(
        "Title",
        [
            InputRequired("Enter a title."),
            Length(max=MAX_TITLE_LENGTH, message=f"Use at most {MAX_TITLE_LENGTH} characters."),
            refuse_control_characters,
        ],
        filters=[lambda text: (text or "").strip()],
    )
    starts = MomentField("Starts", [InputRequired("Enter a start time.")], format=FORMATS)
    ends = MomentField("Ends", [InputRequired("Enter an end time.")], format=FORMATS)
    notes = TextAreaField(
        "Notes",
        [
            Length(max=MAX_NOTES_LENGTH, message=f"Use at most {MAX_NOTES_LENGTH:,} characters."),
            refuse_control_characters,
        ],
        filters=[lambda text: "\n".join((text or "").splitlines()).strip()],
    )

    def __init__(
        self,
        formdata: Mapping[str, Any],
        zone: ZoneInfo,
        appointment: Appointment | None = None,
        **defaults: Any,
    ) -> None:
        self._zone, self._appointment = zone, appointment
        self._moments: dict[str, datetime] = {}
        if appointment is not None:
            defaults = {
                "title": appointment.title,
                "notes": appointment.notes,
                "version": appointment.version,
                "starts": local_time.to_local(appointment.starts, zone),
                "ends": local_time.to_local(appointment.ends, zone),
            }
        super().__init__(formdata, **defaults)

    def validate_title(self, field: Field) -> None:
        """Refuse a title of spaces."""
        if not field.data:
            raise ValidationError("Enter a title.")

    def validate_starts(self, field: Field) -> None:
        """Convert the start to UTC."""
        self._convert(field)

    def validate_ends(self, field: Field) -> None:
        """Convert the end to UTC, and refuse an end that is not later than the start."""
        self._convert(field)
        if {"starts", "ends"} <= self._moments.keys() and self._moments["ends"] <= self._moments["starts"]:
            raise ValidationError("The end must be later than the start.")

    def draft(self) -> AppointmentDraft:
        """Return the values of a valid form."""
        return AppointmentDraft(self.title.data, self.notes.data, self._moments["starts"], self._moments["ends"])

    def _convert(self, field: Field) -> None:
        shown: datetime | None = field.data
        if shown is None:  # the field has reported an error already
            return
        if shown.year not in YEARS:
            raise ValidationError(f"Use a year from {YEARS[0]} to {YEARS[-1]}.")
        saved: datetime | None = getattr(self._appointment, field.name, None)
        if saved is not None and local_time.to_local(saved, self._zone) == shown:
            # The user did not change the time. It may be the second of two equal times, when clocks are set back.
            self._moments[field.name] = saved
            return
        try:
            self._moments[field.name] = local_time.to_utc(shown, self._zone)
        except local_time.NoSuchTimeError:
            raise ValidationError(
                f"{shown:%H:%M} does not exist on that day, because the clocks go forward. Choose another time."
            ) from None
