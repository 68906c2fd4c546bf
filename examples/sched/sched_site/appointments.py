"""The user's appointments: a list, a week and forms. An appointment of another user is a 404."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta

from flask import Blueprint, abort, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from flask_cloakroom import current_user, login_required

from . import diary, local_time, week
from .appointment_forms import YEARS, AppointmentForm, VersionForm
from .database import db
from .diary import Appointment, ChangedError, OverlapError
from .forms import TimeZoneForm

blueprint = Blueprint("appointments", __name__, url_prefix="/appointments")

#: The most upcoming and the most past appointments in the list. The week view shows all of them.
LISTED = 50
#: The id of an appointment in a URL. PostgreSQL refuses a query for an integer of more than 32 bits.
APPOINTMENT_ID = f"<int(max={2**31 - 1}):appointment_id>"


CHANGED_BEFORE_DELETE = "The appointment was changed in the meantime. Check it again before you delete it."


@blueprint.get("", strict_slashes=False)
@login_required
def index() -> ResponseReturnValue:
    """Show the upcoming appointments, and below them the past ones."""
    now = _now()
    return render_template(
        "appointments.html",
        upcoming=diary.upcoming(current_user.id, now, LISTED + 1),
        past=diary.past(current_user.id, now, LISTED + 1),
        listed=LISTED,
        now=now,
    )


@blueprint.get("/week", defaults={"year": None, "number": None})
@blueprint.get("/week/<int:year>-W<int(fixed_digits=2):number>")
@login_required
def show_week(year: int | None, number: int | None) -> ResponseReturnValue:
    """Show a week by its number in ISO 8601, where a week begins on Monday."""
    zone = current_user.zone
    today = local_time.local_date(_now(), zone)
    monday = today - timedelta(days=today.weekday()) if year is None or number is None else _monday(year, number)
    days = week.days_of_week(monday)
    begin, end = local_time.start_of_day(monday, zone), local_time.start_of_day(days[-1] + timedelta(days=1), zone)
    return render_template(
        "week.html",
        days=week.split_by_day(days, diary.between(current_user.id, begin, end), zone),
        number=monday.isocalendar().week,
        today=today,
        previous=_week_url(monday - timedelta(days=7)),
        following=_week_url(monday + timedelta(days=7)),
    )


@blueprint.route("/new", methods=["GET", "POST"])
@login_required
def new() -> ResponseReturnValue:
    """Create an appointment. ``?day=`` is the day that the form proposes."""
    form = AppointmentForm(request.form, current_user.zone, **_proposed_times())
    error = None
    if request.method == "POST" and form.validate():
        try:
            appointment = diary.add(current_user.id, form.draft())
        except OverlapError as refused:
            error = _overlaps(refused.appointment)
        else:
            flash(f"“{appointment.title}” was added to your calendar.", "success")
            return _to_week_of(appointment)
    return render_template("appointment.html", form=form, error=error, appointment=None)


@blueprint.route(f"/{APPOINTMENT_ID}", methods=["GET", "POST"])
@login_required
def edit(appointment_id: int) -> ResponseReturnValue:
    """Show an appointment in a form, or change it."""
    appointment = diary.get(current_user.id, appointment_id) or abort(404)
    form = AppointmentForm(request.form, current_user.zone, appointment)
    error = None
    if request.method == "POST" and form.validate():
        try:
            changed = diary.change(current_user.id, appointment_id, form.shown_version, form.draft())
        except OverlapError as refused:
            error = _overlaps(refused.appointment)
        except ChangedError as refused:
            appointment, error = refused.appointment, _changed(refused.appointment)
            form.version.data = appointment.version  # the user has seen this version now, and may save again
        else:
            if changed is None:
                return _to_list_after_deletion()
            flash(f"“{changed.title}” was saved.", "success")
            return _to_week_of(changed)
    return render_template("appointment.html", form=form, error=error, appointment=appointment)


@blueprint.route(f"/{APPOINTMENT_ID}/delete", methods=["GET", "POST"])
@login_required
def delete(appointment_id: int) -> ResponseReturnValue:
    """Ask for confirmation, then delete an appointment if it was not changed in between."""
    appointment = diary.get(current_user.id, appointment_id) or abort(404)
    form = VersionForm(request.form, version=appointment.version)
    error = None
    if request.method == "POST" and form.validate():
        title = appointment.title
        try:
            removed = diary.remove(current_user.id, appointment_id, form.shown_version)
        except ChangedError as refused:
            appointment, error = refused.appointment, CHANGED_BEFORE_DELETE
            form.version.data = appointment.version
        else:
            if removed is None:
                return _to_list_after_deletion()
            flash(f"“{title}” was deleted.", "success")
            return redirect(url_for("appointments.index"))
    return render_template("delete.html", form=form, error=error, appointment=appointment)


@blueprint.route("/time-zone", methods=["GET", "POST"])
@login_required
def time_zone() -> ResponseReturnValue:
    """Change the user's time zone. The appointments do not move; only the displayed times change."""
    form = TimeZoneForm(request.form, time_zone=current_user.time_zone)
    if request.method == "POST" and form.validate():
        current_user.time_zone = form.time_zone.data
        db.session.commit()
        flash(f"Times are now shown in {form.time_zone.data}.", "success")
        return redirect(url_for("appointments.index"))
    return render_template("time_zone.html", form=form)


@blueprint.app_template_filter()
def span(appointment: Appointment) -> str:
    """Return the date and the hours of an appointment in words, in the user's time zone."""
    zone = current_user.zone
    begin, end = local_time.local_date(appointment.starts, zone), local_time.local_date(appointment.ends, zone)
    starts, ends = local_time.format_time(appointment.starts, zone), local_time.format_time(appointment.ends, zone)
    if appointment.starts == local_time.start_of_day(begin, zone) and appointment.ends == local_time.start_of_day(
        end, zone
    ):
        last = end - timedelta(days=1)
        return f"{day_name(begin)}, all day" if last == begin else f"{day_name(begin)} to {day_name(last)}, all day"
    if begin == end:
        return f"{day_name(begin)}, {starts} to {ends}"
    return f"{day_name(begin)}, {starts} to {day_name(end)}, {ends}"


@blueprint.app_template_filter()
def day_name(day: date) -> str:
    """Return a date such as "Mon 23 Nov 2026"."""
    return f"{day:%a} {day.day} {day:%b %Y}"


def _now() -> datetime:
    return datetime.now(UTC)


def _monday(year: int, number: int) -> date:
    if year not in YEARS:
        abort(404)
    try:
        return date.fromisocalendar(year, number, 1)
    except ValueError:  # most years have no week 53, and no year has a week 0
        abort(404)


def _week_url(monday: date) -> str | None:
    """Return the URL of a week; None if the week is outside of YEARS."""
    year, number, _ = monday.isocalendar()
    return url_for("appointments.show_week", year=year, number=number) if year in YEARS else None


def _to_week_of(appointment: Appointment) -> ResponseReturnValue:
    year, number, _ = local_time.local_date(appointment.starts, current_user.zone).isocalendar()
    if year not in YEARS:  # the first days of the first year belong to a week of the year before
        return redirect(url_for("appointments.index"))
    return redirect(url_for("appointments.show_week", year=year, number=number))


def _to_list_after_deletion() -> ResponseReturnValue:
    flash("The appointment no longer exists.", "warning")
    return redirect(url_for("appointments.index"))


def _proposed_times() -> dict[str, datetime]:
    """Return the times that the form for a new appointment proposes: ``?day=`` at nine, or the next full hour."""
    try:
        begin = datetime.combine(date.fromisoformat(request.args.get("day", "")), time(9))
    except ValueError:
        now = local_time.to_local(_now(), current_user.zone)
        begin = now.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
    if begin.year not in YEARS:
        abort(404)
    return {"starts": begin, "ends": begin + timedelta(hours=1)}


def _overlaps(other: Appointment) -> str:
    return f"You already have an appointment at that time: “{other.title}”, {span(other)}."


def _changed(appointment: Appointment) -> str:
    return (
        f"The appointment was changed in another tab or on another device. It is now “{appointment.title}”, "
        f"{span(appointment)}. Save again to replace it with your version."
    )
