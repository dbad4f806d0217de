"""The JSON Schema of gateway.yaml, judged by a validator that knows nothing of Wardgate: files that load are valid by it, and
mistakes that an editor should underline are not."""

import json
import pathlib
import subprocess
import sys

from jsonschema import Draft202012Validator
from ruamel.yaml import YAML

PROGRAM = sys.argv[1]
SHIPPED = pathlib.Path("docs/gateway.schema.json")
# YAML 1.2, as Wardgate reads it.
READER = YAML(typ="safe", pure=True)


MISTAKES = {
    "a key that nobody knows": "colour: blue",
    "a list where a map belongs": "upstreams: [{ endpoints: ['127.0.0.1:1'] }]",
    "a map where a list belongs": "routes: { id: a }",
    "a misspelt key deep inside": "routes: [{ id: a, match: { path: /, methods: [GET] }, any_of: [{ isuer: patients }] }]",
    "a word where a list belongs": "routes: [{ id: a, match: { path: /, methods: GET } }]",
    "a word of truth in a word's clothes": "state: { single_replica: 'yes' }",
    "a caller that is neither": "cases: [{ name: a, as: somebody }]",
    "something left out": "telemetry: { address: '127.0.0.1:9' }",
}


def main():
    printed = subprocess.run([PROGRAM, "schema"], check=True, capture_output=True, text=True).stdout
    assert printed == SHIPPED.read_text(), f"{SHIPPED} is not what `wardgate schema` prints: write it anew"
    schema = json.loads(printed)
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)

    good = sorted(pathlib.Path("tests/config/good").glob("*.yaml")) + [pathlib.Path("gateway.yaml")]
    assert len(good) > 10, good
    for path in good:
        errors = validator.iter_errors(READER.load(path.read_text()))
        found = [f"{path}: {error.json_path}: {error.message}" for error in errors]
        assert not found, "\n".join(found)

    whole = READER.load(pathlib.Path("gateway.yaml").read_text())
    assert validator.is_valid(whole)
    for name, text in MISTAKES.items():
        part = READER.load(text)
        broken = part if name == "something left out" else whole | part
        assert not validator.is_valid(broken), f"{name} is valid"
    print(f"{len(good)} files are valid, {len(MISTAKES)} mistakes are not")


main()
