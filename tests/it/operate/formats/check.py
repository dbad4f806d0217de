"""Reads a folder of what one trail became in each format, and says what is wrong with the files that are named.

records.jsonl against the published schema, ocsf.jsonl against that of OCSF; cef.txt and syslog.txt are parsed, and
must say what the records say. Prints how many of each it has seen."""

import json
import pathlib
import re
import sys

import pycef
from jsonschema import Draft202012Validator, FormatChecker
from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema
from syslog_rfc5424_parser import SyslogMessage

folder, schema = (pathlib.Path(path) for path in sys.argv[1:3])
asked = sys.argv[3:]
faults = []


def lines(name):
    """Nothing of what is not asked for."""
    if name not in asked:
        return []
    return (folder / name).read_text(encoding="utf-8").splitlines()


def fault(what, line, why):
    faults.append(f"{what}: {why}\n    {line}")


def must_be(what, line, name, found, wanted):
    if found != wanted:
        fault(what, line, f"{name} is {found!r}, not {wanted!r}")


records = [json.loads(line) for line in (folder / "records.jsonl").read_text(encoding="utf-8").splitlines()]
by_key = {f"{record['origin']}:{record['seq']}": record for record in records}
checked = {}

published = json.loads(schema.read_text(encoding="utf-8"))
Draft202012Validator.check_schema(published)
for record in records if "records.jsonl" in asked else []:
    # By the kind's own schema, which says what is wrong; `oneOf` would say only that something is.
    kind = {"$ref": f"#/$defs/{record['event']}", "$defs": published["$defs"]}
    for error in Draft202012Validator(kind, format_checker=FormatChecker()).iter_errors(record):
        fault("record", json.dumps(record), f"{error.json_path}: {error.message}")
    if not Draft202012Validator(published).is_valid(record):
        fault("record", json.dumps(record), "is not one of the kinds")

ocsf = {}
for line in lines("ocsf.jsonl"):
    event = json.loads(line)
    version = event["metadata"]["version"]
    profiles = tuple(event["metadata"].get("profiles", []))
    key = (version, event["class_uid"], profiles)
    if key not in ocsf:
        classes = OcsfJsonSchemaEmbedded(get_ocsf_schema(version=version))
        name = classes.lookup_class_name_from_uid(class_uid=event["class_uid"])
        ocsf[key] = Draft202012Validator(classes.get_class_schema(name, list(profiles)))
    for error in ocsf[key].iter_errors(event):
        fault("ocsf", line, f"{error.json_path}: {error.message[:300]}")
    record = by_key[event["metadata"]["uid"]]
    must_be("ocsf", line, "type_uid", event["type_uid"], event["class_uid"] * 100 + event["activity_id"])
    must_be("ocsf", line, "event_code", event["metadata"]["event_code"], record["event"])
    checked[("ocsf", event["class_uid"])] = checked.get(("ocsf", event["class_uid"]), 0) + 1

SAME = ["action", "template", "tier", "patient", "decision"]
KEYS = {"act": "verdict", "suid": "subject", "requestMethod": "method", "reason": "reason", "outcome": "result"}


def of_outcome(record):
    """What a line says: an outcome's says what its intent says too."""
    intent = by_key.get(f"{record['origin']}:{record.get('intent')}") if record["event"] == "outcome" else None
    return {**{name: value for name, value in (intent or {}).items() if name != "reason"}, **record}


def words(record):
    told = of_outcome(record)
    head = {"seq", "origin", "time", "v", "event", "crc"}
    # A word as JSON writes it: `true`, and not the `True` of Python.
    said = {name: value if isinstance(value, str) else json.dumps(value) for name, value in told.items()}
    return {name: said[name] for name, value in told.items() if name not in head and isinstance(value, (str, int))}


def plain(text):
    """A certificate or a note has lines; a line format has none."""
    return re.sub("[\0-\x1f]", "\ufffd", text)


for line in lines("cef.txt"):
    parsed = pycef.parse(line)
    if parsed is None:
        fault("cef", line, "can't be parsed")
        continue
    record = by_key[parsed["externalId"]]
    told = of_outcome(record)
    wanted = {"DeviceVendor": "Wardgate", "DeviceProduct": "Wardgate", "DeviceEventClassID": record["event"]}
    wanted |= {name: told[name] for name in SAME if name in told}
    wanted |= {key: told[name] for key, name in KEYS.items() if name in told}
    for name, value in wanted.items():
        unescaped = re.sub(r"\\(.)", r"\1", parsed.get(name, ""))
        must_be("cef", line, name, unescaped, str(value))
    must_be("cef", line, "how much it says", len(parsed), 12 + len(words(record)))
    checked[("cef", record["event"])] = checked.get(("cef", record["event"]), 0) + 1

for line in lines("syslog.txt"):
    try:
        parsed = SyslogMessage.parse(line)
    except Exception as error:  # The parser has no class of its own for all of them.
        fault("syslog", line, repr(error))
        continue
    told = dict(next(iter(parsed.sd.values())))
    record = by_key[told.pop("record")]
    must_be("syslog", line, "facility's number", int(parsed.facility), 13)
    must_be("syslog", line, "message id", parsed.msgid, record["event"])
    must_be("syslog", line, "origin", str(parsed.procid), record["origin"])
    must_be("syslog", line, "timestamp", parsed.timestamp, record["time"])
    unescaped = {name: re.sub(r'\\(["\\\]])', r"\1", value) for name, value in told.items()}
    must_be("syslog", line, "what it says", unescaped, {name: plain(text) for name, text in words(record).items()})
    must_be("syslog", line, "the record in it", json.loads(parsed.msg), record)
    checked[("syslog", record["event"])] = checked.get(("syslog", record["event"]), 0) + 1

print("\n".join(faults[:20]))
print(len(faults), "faults;", ", ".join(f"{what} {kind}: {count}" for (what, kind), count in sorted(checked.items(), key=str)))
sys.exit(bool(faults))
