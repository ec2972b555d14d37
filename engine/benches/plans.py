#!/usr/bin/env python3
"""Plans of any size for benchmarks, on standard output.

    plans.py independent 2000      no step needs another
    plans.py layers 2000           10 layers, every step needs 3 of the layer before
    plans.py chain 500             every step needs the one before
    plans.py mixed 100000          what real plans are made of: needs, vars, outputs of other steps, `foreach`

The same arguments give the same plan.
"""

import argparse
import sys

LAYERS = 10
PARENTS = 3
# In `mixed`, so many steps come from one `foreach`.
ITEMS = 20


def independent(count):
    return [[] for _ in range(count)]


def chain(count):
    return [[index - 1] if index else [] for index in range(count)]


def layers(count):
    width = max(count // LAYERS, 1)
    needs = []
    for index in range(count):
        layer, place = divmod(index, width)
        if layer == 0:
            needs.append([])
            continue
        start = (layer - 1) * width
        # Spread over the layer before; never the same one twice.
        parents = {(place * 7 + parent * 13 + parent) % width for parent in range(PARENTS)}
        needs.append([start + parent for parent in sorted(parents)])
    return needs


def plain(name, needs, program, idempotent):
    """Steps that run one program without arguments."""
    safe = ", idempotent: true" if idempotent else ""
    lines = ["runbook: 1", f"name: {name}", "steps:"]
    for index, parents in enumerate(needs):
        after = ", needs: [" + ", ".join(f"s{parent}" for parent in parents) + "]" if parents else ""
        lines.append(f"  s{index}: {{command: [{program}]{safe}{after}}}")
    return lines


def mixed(name, count, program, idempotent):
    """Groups of 40: half of them one `foreach`, the rest steps that need, name vars, and use outputs of each other."""
    safe = ["    idempotent: true"] if idempotent else []
    lines = [
        "runbook: 1",
        f"name: {name}",
        "inputs:",
        "  zone: {type: string, default: europe-west4-a}",
        "  replicas: {type: int, default: 3}",
        "vars:",
        '  region: "${{ inputs.zone | region_of_zone }}"',
        '  label: "team=${{ inputs.zone }}"',
        f"  items: [{', '.join(f'i{item}' for item in range(ITEMS))}]",
        "steps:",
    ]
    made, group = 0, 0
    while made < count:
        if count - made >= ITEMS:
            before = [f"    needs: [g{group - 1}]"] if group % 5 else []
            lines += [f"  g{group}:", "    foreach: {item: vars.items}", *before, *safe]
            lines.append(f'    command: [{program}, "--item=${{{{ each.item }}}}", "${{{{ vars.label }}}}"]')
            made += ITEMS
        for place in range(min(ITEMS, count - made)):
            lines += single(group, place, program, safe)
            made += 1
        group += 1
    return lines


def single(group, place, program, safe):
    name, before = f"s{group}_{place}", f"s{group}_{place - 1}"
    lines = [f"  {name}:", *safe]
    if place == 0:
        # What others take an output from.
        return lines + [f"    needs: [g{group}]", '    command: [/bin/echo, "${{ vars.region }}"]', "    timeout: 5m"]
    if place % 4 == 1:
        output = f'"${{{{ steps.s{group}_0.outputs.stdout }}}}"'
        return lines + [f"    command: [{program}, {output}]", "    retry: {attempts: 3}"]
    if place % 4 == 2:
        return lines + [
            f"    needs: [{before}]",
            f'    command: [{program}, --region, "${{{{ vars.region }}}}", "n=${{{{ inputs.replicas }}}}"]',
            "    env: {MODE: batch}",
        ]
    if place % 4 == 3:
        return lines + [f"    needs: [{before}, s{group}_0]", "    when: inputs.replicas > 1", f"    command: [{program}, {name}]"]
    return lines + [f"    name: Make {name} ready", f"    command: [{program}, {name}, --wait]", "    expected: 5s..20s"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shape", choices=["independent", "layers", "chain", "mixed"])
    parser.add_argument("count", type=int)
    parser.add_argument("--name", help="the plan's name; by default from its shape and size")
    parser.add_argument("--program", default="/bin/true", help="what every step runs")
    parser.add_argument("--synced", action="store_true", help="leave `idempotent` out: each start is synced first")
    given = parser.parse_args()
    name = given.name or f"{given.shape}-{given.count}"
    if given.shape == "mixed":
        lines = mixed(name, given.count, given.program, not given.synced)
    else:
        needs = {"independent": independent, "layers": layers, "chain": chain}[given.shape](given.count)
        lines = plain(name, needs, given.program, not given.synced)
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
