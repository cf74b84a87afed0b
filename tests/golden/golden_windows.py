#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Writes windows.h: mel window starts and frame counts at five rates, from the rule of the original's
# loop as design text WAV2LIP.md section 2 states it, run literally. Plain Python (any 3.x).
RATES = [("25", 25.0), ("30", 30.0), ("30000/1001", 30000 / 1001), ("24", 24.0), ("60", 60.0)]
LENGTHS = [16, 17, 18, 19, 20, 31, 32, 33, 80, 81, 96, 97, 100, 160, 161, 400, 401, 799, 801, 2400,
           2401, 4801, 4803, 48001]


def count(columns, fps):
    """Windows until one sticks out; that one is replaced by the last 16 columns, and ends the loop."""
    step, i = 80.0 / fps, 0
    while int(i * step) + 16 <= columns:
        i += 1
    return i + 1


def row(values):
    return "{" + ", ".join(map(str, values)) + "}"


print("// SPDX-License-Identifier: Apache-2.0")
print("// Made by golden_windows.py: the original's window starts and frame counts. Not edited by hand.")
print("// clang-format off")
frames = list(range(60)) + [k * 997 for k in range(1, 61)]
print("struct golden_window {")
print("    const char *name;\n    double fps;")
print("    int start_count; int frame[%d], start[%d];" % (len(frames), len(frames)))
print("    int length_count; int columns[%d], frames[%d];" % (len(LENGTHS), len(LENGTHS)))
print("};\nstatic const struct golden_window golden_windows[] = {")
for name, fps in RATES:
    step = 80.0 / fps
    print('    {"%s", %r,' % (name, fps))
    print("     %d, %s,\n     %s," % (len(frames), row(frames), row(int(k * step) for k in frames)))
    print("     %d, %s,\n     %s}," % (len(LENGTHS), row(LENGTHS), row(count(n, fps) for n in LENGTHS)))
print("};\n// clang-format on")
