"""A spec for files of a known domain: columns found by the names that the domain's file gives their roles.

A guess of the same files (`data.guessing`), which looks at values, stands in for what no name tells. Nothing is read
and nothing written here.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import tomli_w

from data.catalogue import render
from data.domains import Called, Domain, column_of, domain
from data.errors import CannotGuess
from data.spec import DatasetSpec, template_fields

_PLAIN = re.compile(r"[\w -]+")
_ATTRIBUTE = re.compile(r"[A-Za-z_][A-Za-z0-9_ ]{0,62}")
_NEEDED = ("user", "item", "ts")
_OF_ITEMS = ("title", "categories", "price", "image", "available")
_AGES = {
    "edges": [18, 25, 35, 45, 55],
    "labels": ["under 18", "18-24", "25-34", "35-44", "45-54", "55+"],
}


@dataclass(frozen=True)
class _Group:
    """Files with one header, by the names that the spec will call them by, and the columns that mean something."""

    files: tuple[str, ...]
    header: tuple[str, ...]

    def roles(self, called: Called) -> dict[str, str]:
        """Each role that a column here has, and that column."""
        found = {role: column_of(names, self.header) for role, names in called.items()}
        return {role: column for role, column in found.items() if column is not None}


def describe(
    headers: Mapping[str, Sequence[str]],
    name: str,
    *,
    dataset: Mapping[str, str],
    guessed: DatasetSpec | None = None,
) -> str:
    """The spec of files with these headers as TOML that says `preset = name`; dataset: its name, licence, source.

    Raises InvalidSpec for an unknown domain, and CannotGuess where neither names nor the guess tell the log.
    """
    told = domain(name)
    by_header: dict[tuple[str, ...], list[str]] = {}
    for file, header in headers.items():
        by_header.setdefault(tuple(header), []).append(file)
    groups = [_Group(tuple(files), header) for header, files in by_header.items()]
    log, events = _events(groups, told, guessed, name)
    others = [group for group in groups if group is not log]
    tree: dict[str, Any] = {"dataset": dict(dataset), "events": events}
    if guessed and _rated(events, told) and guessed.positive.min_value is not None:
        tree["positive"] = {"min_value": guessed.positive.min_value}
    items, used = _items(others, log, told, events, guessed)
    users, derived, sensitive = _users([group for group in others if group is not used], told, events, guessed)
    tree |= {"items": items} if items else {}
    tree |= {"users": users} if users else {}
    tree |= {"derive": derived} if derived else {}
    plain: dict[str, Any] = {"preset": name, **({"sensitive": sensitive} if sensitive else {})}
    return tomli_w.dumps(plain | tree)


def _events(
    groups: Sequence[_Group], told: Domain, guessed: DatasetSpec | None, name: str
) -> tuple[_Group | None, dict[str, Any]]:
    """The log's files and its section: the files that say most by their names, else those that the guess took."""
    rated = [(group, group.roles(told.columns.events)) for group in groups]
    whole = [(group, roles) for group, roles in rated if set(_NEEDED) <= set(roles) and _apart(roles)]
    log: _Group | None
    if whole:
        log, roles = max(whole, key=lambda pair: len(pair[1]))
        section: dict[str, Any] = {"files": list(log.files), **roles}
        if guessed and set(guessed.events.files) & set(log.files):
            section |= _of_guess(guessed, section)
    elif guessed:
        log = next((group for group in groups if set(group.files) & set(guessed.events.files)), None)
        section = _partly_told(log.roles(told.columns.events) if log else {}, guessed)
    else:
        wanted = "; ".join(f"{role} ({', '.join(told.columns.events[role][:4])})" for role in _NEEDED)
        raise CannotGuess(
            f"no file has columns that {name} would call {wanted}",
            remedy="rename them, or write a spec that names yours under preset (see README)",
        )
    if log is not None and (context := log.roles(told.columns.context)):
        taken = {value for value in section.values() if isinstance(value, str)}
        section["context"] = [column for column in context.values() if column not in taken]
    return log, section


def _partly_told(roles: Mapping[str, str], guessed: DatasetSpec) -> dict[str, Any]:
    """The guess's section with those roles that names tell, unless these would leave one column for two."""
    found = guessed.events.model_dump(mode="json", exclude_none=True, exclude_defaults=True)
    needed = {role: roles.get(role, found[role]) for role in _NEEDED}
    if not _apart(needed):
        return found
    free = {role: column for role, column in roles.items() if column not in needed.values()}
    section = {"files": found["files"], **needed, **free}
    return section | _of_guess(guessed, section)


def _rated(events: Mapping[str, Any], told: Domain) -> bool:
    """Whether values stand in a column that the domain has no name for: its rule is not made for what they are."""
    return "value" in events and column_of(told.columns.events.get("value", ()), [events["value"]]) is None


def _apart(roles: Mapping[str, str]) -> bool:
    return len({roles[role] for role in _NEEDED}) == len(_NEEDED)


def _of_guess(guessed: DatasetSpec, section: Mapping[str, Any]) -> dict[str, Any]:
    """What the guess found in the same log and no name told: kinds, values, and how times are written."""
    found = guessed.events.model_dump(mode="json", exclude_none=True, exclude_defaults=True)
    of_times = ("ts_unit", "ts_format", "tz") if found["ts"] == section["ts"] else ()
    free = {value for value in section.values() if isinstance(value, str)}
    more: dict[str, Any] = {role: found[role] for role in ("kind", "value") if role in found and role not in section}
    more = {role: column for role, column in more.items() if column not in free}
    if "value" in more and "kind" not in {*more, *section}:
        more["kind_value"] = guessed.events.kind_value  # such as `rate`, whose value it is
    return more | {role: found[role] for role in (*of_times, "encoding", "drop_duplicates") if role in found}


def _items(
    others: Sequence[_Group], log: _Group | None, told: Domain, events: Mapping[str, Any], guessed: DatasetSpec | None
) -> tuple[dict[str, Any], _Group | None]:
    """The catalogue's section, from a file of its own or from the log's own columns, and the files it took."""
    called = {**told.columns.items, "key": (*told.columns.items.get("key", ()), str(events["item"]))}
    for group in others:
        roles = group.roles(called)
        if "key" in roles and {"title", "categories"} & set(roles):
            if guessed and guessed.items and set(guessed.items.files) & set(group.files):
                found = guessed.items.model_dump(include=set(_OF_ITEMS), exclude_none=True)
                roles = {role: column for role, column in found.items() if column not in roles.values()} | roles
            section: dict[str, Any] = {"files": list(group.files), **roles}
            return _with_text(section, roles, group, told, guessed), group
    if guessed and guessed.items:
        section = guessed.items.model_dump(mode="json", exclude_none=True, exclude_defaults=True)
        taken = next((group for group in others if set(group.files) & set(guessed.items.files)), None)
        read = taken or log
        return (_with_text(section, section, read, told, guessed) if read else section), taken
    roles = {role: column for role, column in log.roles(told.columns.items).items() if role != "key"} if log else {}
    return (_with_text(dict(roles), roles, log, told, guessed) if "title" in roles and log else {}), None


def _with_text(
    section: dict[str, Any], roles: Mapping[str, Any], group: _Group, told: Domain, guessed: DatasetSpec | None
) -> dict[str, Any]:
    """The section with what a language model reads and the attributes kept: of the domain's roles those it has."""
    more = {role: column for role, column in group.roles(told.columns.attributes).items() if _PLAIN.fullmatch(column)}
    named = {role: f"{{{role}}}" for role in ("title", "categories") if role in roles or role == "title"}
    text = render(told.text, {**{role: f"{{{column}}}" for role, column in more.items()}, **named})
    if guessed and guessed.items and set(guessed.items.files) & set(group.files):
        read = {*more.values(), *(it for it in roles.values() if isinstance(it, str)), *named, "key"}
        found = [name for name in template_fields(guessed.items.text_template) if name not in read]
        text = ". ".join([*([text] if text else []), *(f"{{{name}}}" for name in found)])
    section["text_template"] = text or "{title}"
    attributes = [column for role, column in more.items() if role not in ("about", *roles)]
    if attributes:
        section["attributes"] = attributes
    if guessed and guessed.items and guessed.items.categories == section.get("categories"):
        section["categories_separator"] = guessed.items.categories_separator
    return section


def _users(
    others: Sequence[_Group], told: Domain, events: Mapping[str, Any], guessed: DatasetSpec | None
) -> tuple[dict[str, Any], dict[str, Any], list[str]]:
    """The users' section, attributes made from numbers, and those that describe people."""
    called = {"key": (*told.columns.users.get("key", ()), str(events["user"]))}
    for group in others:
        about = {
            role: column for role, column in group.roles(told.columns.about).items() if _ATTRIBUTE.fullmatch(column)
        }
        key = group.roles(called).get("key")
        if key is None or not about:
            continue
        derived: dict[str, Any] = {}
        age = about.get("age")
        if age is not None and (guessed is None or any(one.source == age for one in guessed.derive.values())):
            derived["age_group"] = {"from": age, **_AGES}
        columns = [column for role, column in about.items() if not (role == "age" and derived)]
        sensitive = [about[role] for role in told.columns.sensitive if role in about and about[role] in columns]
        sensitive += ["age_group"] if derived and "age" in told.columns.sensitive else []
        if guessed and guessed.users and set(guessed.users.files) & set(group.files):
            columns += [name for name in guessed.users.attributes if name not in {*columns, *about.values()}]
            sensitive += [name for name in guessed.sensitive if name in columns and name not in sensitive]
        return {"files": list(group.files), "key": key, "attributes": columns}, derived, sensitive
    if guessed and guessed.users:
        section = guessed.users.model_dump(mode="json", exclude_none=True, exclude_defaults=True)
        made = {
            name: one.model_dump(mode="json", by_alias=True, exclude_none=True) for name, one in guessed.derive.items()
        }
        return section, made, list(guessed.sensitive)
    return {}, {}, []
