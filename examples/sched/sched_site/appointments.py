"""The appointments of whoever is signed in: a list, a week, and the forms. Those of others are not there: 404."""

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

#: How many the list shows of what comes and of what is over. The weeks have all.
LISTED = 50
#: What numbers of appointments can be: PostgreSQL's integers have 32 bits, and it refuses to look for others.
NUMBER = f"<int(max={2**31 - 1}):number>"


@blueprint.get("", strict_slashes=False)
@login_required
def index() -> ResponseReturnValue:
    """Show what comes, and below it what is over."""
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
    """Show a week, as ISO 8601 numbers them: it begins on Monday."""
    zone = current_user.zone
    today = local_time.day_of(_now(), zone)
    monday = today - timedelta(days=today.weekday()) if year is None or number is None else _monday(year, number)
    days = week.days_of(monday)
    begin, end = local_time.begin_of(monday, zone), local_time.begin_of(days[-1] + timedelta(days=1), zone)
    return render_template(
        "week.html",
        days=week.in_days(days, diary.between(current_user.id, begin, end), zone),
        number=monday.isocalendar().week,
        today=today,
        previous=_address(monday - timedelta(days=7)),
        following=_address(monday + timedelta(days=7)),
    )


@blueprint.route("/new", methods=["GET", "POST"])
@login_required
def new() -> ResponseReturnValue:
    """Make an appointment. ``?day=`` is the day that is proposed."""
    form = AppointmentForm(request.form, current_user.zone, **_proposal())
    error = None
    if request.method == "POST" and form.validate():
        try:
            made = diary.add(current_user.id, form.plan())
        except OverlapError as refused:
            error = _overlaps(refused.appointment)
        else:
            flash(f"“{made.title}” is in your calendar.", "success")
            return _to_week_of(made)
    return render_template("appointment.html", form=form, error=error, appointment=None)


@blueprint.route(f"/{NUMBER}", methods=["GET", "POST"])
@login_required
def edit(number: int) -> ResponseReturnValue:
    """Show an appointment, or change it."""
    present = diary.of(current_user.id, number) or abort(404)
    form = AppointmentForm(request.form, current_user.zone, present)
    error = None
    if request.method == "POST" and form.validate():
        try:
            changed = diary.change(current_user.id, number, form.seen, form.plan())
        except OverlapError as refused:
            error = _overlaps(refused.appointment)
        except ChangedError as refused:
            present, error = refused.appointment, _changed(refused.appointment)
            form.version.data = present.version  # so that saving once more is done knowingly
        else:
            if changed is None:
                return _to_list_without_it()
            flash(f"“{changed.title}” is changed.", "success")
            return _to_week_of(changed)
    return render_template("appointment.html", form=form, error=error, appointment=present)


@blueprint.route(f"/{NUMBER}/delete", methods=["GET", "POST"])
@login_required
def delete(number: int) -> ResponseReturnValue:
    """Ask, and delete an appointment. Only as it was when it was asked for."""
    present = diary.of(current_user.id, number) or abort(404)
    form = VersionForm(request.form, version=present.version)
    error = None
    if request.method == "POST" and form.validate():
        title = present.title
        try:
            removed = diary.remove(current_user.id, number, form.seen)
        except ChangedError as refused:
            present, error = refused.appointment, "It was changed meanwhile. This is what it is now."
            form.version.data = present.version
        else:
            if removed is None:
                return _to_list_without_it()
            flash(f"“{title}” is deleted.", "success")
            return redirect(url_for("appointments.index"))
    return render_template("delete.html", form=form, error=error, appointment=present)


@blueprint.route("/time-zone", methods=["GET", "POST"])
@login_required
def time_zone() -> ResponseReturnValue:
    """Choose another zone. The appointments stay when they are; it is other clocks that show it."""
    form = TimeZoneForm(request.form, time_zone=current_user.time_zone)
    if request.method == "POST" and form.validate():
        current_user.time_zone = form.time_zone.data
        db.session.commit()
        flash(f"Times are those of {form.time_zone.data} from now on.", "success")
        return redirect(url_for("appointments.index"))
    return render_template("time_zone.html", form=form)


@blueprint.app_template_filter()
def span(appointment: Appointment) -> str:
    """Write from when to when an appointment is, by the clocks of whoever is signed in."""
    zone = current_user.zone
    begin, end = local_time.day_of(appointment.starts, zone), local_time.day_of(appointment.ends, zone)
    starts, ends = local_time.clock(appointment.starts, zone), local_time.clock(appointment.ends, zone)
    if appointment.starts == local_time.begin_of(begin, zone) and appointment.ends == local_time.begin_of(end, zone):
        last = end - timedelta(days=1)
        return f"{day_name(begin)}, all day" if last == begin else f"{day_name(begin)} to {day_name(last)}, all day"
    if begin == end:
        return f"{day_name(begin)}, {starts} to {ends}"
    return f"{day_name(begin)}, {starts} to {day_name(end)}, {ends}"


@blueprint.app_template_filter()
def day_name(day: date) -> str:
    """Write a day."""
    return f"{day:%a} {day.day} {day:%b %Y}"


def _now() -> datetime:
    return datetime.now(UTC)


def _monday(year: int, number: int) -> date:
    if year not in YEARS:
        abort(404)
    try:
        return date.fromisocalendar(year, number, 1)
    except ValueError:  # most years have no week 53, and none has a week 0
        abort(404)


def _address(monday: date) -> str | None:
    """Return the address of a week; None if it is beyond the years that there are."""
    year, number, _ = monday.isocalendar()
    return url_for("appointments.show_week", year=year, number=number) if year in YEARS else None


def _to_week_of(appointment: Appointment) -> ResponseReturnValue:
    year, number, _ = local_time.day_of(appointment.starts, current_user.zone).isocalendar()
    if year not in YEARS:  # the first days of the first year are in a week of the year before
        return redirect(url_for("appointments.index"))
    return redirect(url_for("appointments.show_week", year=year, number=number))


def _to_list_without_it() -> ResponseReturnValue:
    flash("That appointment is not there any more.", "warning")
    return redirect(url_for("appointments.index"))


def _proposal() -> dict[str, datetime]:
    """Return what the form for a new one begins with: the day that was asked for, or the next full hour."""
    try:
        begin = datetime.combine(date.fromisoformat(request.args.get("day", "")), time(9))
    except ValueError:
        now = local_time.clock_face(_now(), current_user.zone)
        begin = now.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
    if begin.year not in YEARS:
        abort(404)
    return {"starts": begin, "ends": begin + timedelta(hours=1)}


def _overlaps(other: Appointment) -> str:
    return f"You have something at that time: “{other.title}”, {span(other)}."


def _changed(present: Appointment) -> str:
    return (
        f"It was changed meanwhile, in another tab or on another device. It is “{present.title}” now, "
        f"{span(present)}. Save once more to put yours in its place."
    )
