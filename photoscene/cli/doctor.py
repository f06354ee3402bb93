"""`photoscene doctor`: prints what this machine can run."""

from __future__ import annotations

import json
from dataclasses import asdict

from photoscene.cli.errors import ENVIRONMENT, store_root
from photoscene.cli.output import DONE, INCOMPLETE, print_result
from photoscene.doctor import diagnose, diagnosis_table


def show_doctor(store_path: str | None, as_json: bool) -> int:
    """`photoscene doctor`: returns the exit status."""

    found = diagnose(store_root(store_path))
    print_result(found, diagnosis_table(found), as_json)
    return DONE if found["profiles"]["lite"]["runs"] else INCOMPLETE


def show_self_test(device_name: str, as_json: bool) -> int:
    """`photoscene doctor --self-test`: a line per part as it ends; returns the exit status."""
    from photoscene import self_test
    from photoscene.device import chosen_device

    device, parts = chosen_device(device_name), self_test.PARTS
    width = max(len(part.name) for part in parts)
    against = "the CPU, in another type" if device == "cpu" else "the CPU"
    if not as_json:
        print(f"self-test on {device}, compared with {against}")
    findings = []
    for finding in self_test.run_self_test(device, parts):
        findings.append(finding)
        if not as_json:
            line = f"{finding.part:<{width}}  {finding.state}: {finding.detail}"
            print(f"{line} ({finding.seconds:.1f} s)" if finding.seconds else line, flush=True)
    if as_json:
        print(json.dumps({"device": device, "parts": [asdict(f) for f in findings]}, indent=1))
    return ENVIRONMENT if any(f.state == "cannot work" for f in findings) else DONE
