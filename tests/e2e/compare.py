# SPDX-License-Identifier: Apache-2.0
# bench/compare.py on results that were made up: what is a question, what fails, what a slow machine and noise
# excuse, what a file that is no result is answered with. Also where machine.sh puts a result, and that the real
# yardstick's rows are taken. No figure here is measured.
import contextlib
import os
import pty
import subprocess
import sys
import tempfile

from _stubs import BUILD, ROOT, SANITIZED, check, finish

COMPARE = os.path.join(ROOT, "bench", "compare.py")
HEAD = "# machine: one\n# commit: %s\n# date: %s\nbench,case,value,unit\n"
ROWS = [("kernels", "mel", 1000, "column/s"), ("service", "wall", 40, "s"), ("encode", "fast", 10, "ms/frame"),
        ("service", "memory", 400, "MiB"), ("service", "frames synced", 88, "%"), ("kernels", "over ref", 20, "times")]
work = tempfile.TemporaryDirectory()


def yardstick(*moments, kinds=(100, 20, 160)):
    """Rows for moments that are so many times as fast as usual."""
    return [("yardstick", "%s %s" % (kind, when), speed * usual, unit)
            for when, speed in zip(("before", "middle", "after"), moments)
            for kind, usual, unit in zip(("fma", "memory", "branches"), kinds, ("Gflop/s", "GB/s", "Mbit/s"))]


def changed(**factors):
    return [(bench, case, value * factors.get(case, 1), unit) for bench, case, value, unit in ROWS]


def write(name, rows, head=None):
    path = os.path.join(work.name, name)
    with open(path, "w") as file:
        file.write(HEAD % (name, "2026-01-01") if head is None else head)
        file.writelines("%s,%s,%.6g,%s\n" % row for row in rows)
    return path


def run(*arguments):
    done = subprocess.run([sys.executable, COMPARE, *arguments], capture_output=True, text=True, timeout=60,
                          stdin=subprocess.DEVNULL)
    return done.returncode, done.stdout, done.stderr


def compared(name, old, new, status, *texts, absent=()):
    code, out, err = run(write("old.csv", old), write("new.csv", new))
    check(name, code == status and not err and all(text in out for text in texts)
          and not any(text in out for text in absent), (code, out, err))


def changes():
    steady = yardstick(1, 1, 1)
    nothing = "0 worse, 0 questions, 0 too noisy, 0 better"
    for what, kind in ((steady, "with"), ([], "without")):
        old = ROWS + what
        compared("equal, %s a yardstick" % kind, old, old, 0, "4 cases compared", nothing)
        for case, cost in (("mel", lambda more: 1 / more), ("wall", float), ("fast", float), ("memory", float)):
            for more, status, text in ((1.09, 0, nothing), (1.12, 0, "0 worse, 1 questions"),
                                       (1.199, 0, "0 worse, 1 questions"), (1.25, 1, "1 worse, 0 questions"),
                                       (0.8, 0, "0 worse, 0 questions, 0 too noisy, 1 better")):
                rows = changed(**{case: cost(more)}) + what
                compared("%s costs %g, %s a yardstick" % (case, more, kind), old, rows, status, text)
    compared("no yardstick is said", ROWS, ROWS, 0, "no yardstick")
    compared("it is not, where both have one", ROWS + steady, ROWS + steady, 0, absent=("no yardstick",))
    compared("one alone has one", ROWS + steady, ROWS, 0, "no yardstick in", "new.csv", absent=("old.csv:",))
    question = changed(wall=1.12) + steady
    compared("a question names case and figures", ROWS + steady, question, 0,
             "is this meant? service, wall: 40 -> 44.8 s, 12.0 % more cost")
    compared("a failure names them", ROWS, changed(mel=0.75), 1, "1 WORSE",
             "kernels, mel: 1000 -> 750 column/s, 33.3 %")
    compared("several at once", ROWS, changed(mel=0.75, wall=1.3, fast=1.15), 1, "2 worse, 1 questions")
    compared("what is no cost is not judged", ROWS, changed(**{"frames synced": 0.5, "over ref": 0.5}), 0, nothing)
    pictures = [("picture", "lag", -11, "ms"), ("service", "wall", 40, "s")]
    compared("nor is the picture", pictures, [("picture", "lag", -90, "ms"), pictures[1]], 0, nothing)
    code, out, _ = run("--ask", "5", "--fail", "8", write("old.csv", ROWS), write("new.csv", changed(wall=1.09)))
    check("limits of one's own", code == 1 and "1 worse" in out, (code, out))


def machines():
    slow = changed(mel=0.5, wall=2, fast=2)
    old, halved = ROWS + yardstick(1, 1, 1), yardstick(0.5, 0.5, 0.5)
    compared("half as fast a machine", old, slow + halved, 0, "0.5 times as fast", "0 worse, 0 questions")
    compared("the same without a yardstick", ROWS, slow, 1, "3 worse")
    compared("twice as fast, but the code is not", old, ROWS + yardstick(2, 2, 2), 1, "3 worse")
    compared("a slow machine and 25 % more", old, changed(mel=0.5, wall=2.5, fast=2) + halved, 1, "1 worse",
             "wall: 40 -> 100 s, 25.0 % more")
    compared("memory is no matter of speed", old, changed(mel=0.5, wall=2, fast=2, memory=1.25) + halved, 1,
             "1 worse", "memory: 400 -> 500 MiB, 25.0 % more")
    compared("nor excused by it", old, changed(mel=2, wall=0.5, fast=0.5, memory=1.25) + yardstick(2, 2, 2), 1,
             "1 worse")
    compared("kinds that differ are told", old, ROWS + yardstick(1, 1, 1, kinds=(200, 10, 160)), 0, "fma 2, memory 0.5",
             "its kinds differ by 300 %")
    compared("a yardstick that wavers excuses what is smaller", old, changed(wall=1.25) + yardstick(0.7, 1, 1.3), 0,
             "1 too noisy", "measure again")
    compared("but not more", old, changed(wall=1.5) + yardstick(0.7, 1, 1.3), 1, "1 worse")
    compared("nor memory", old, changed(memory=1.25) + yardstick(0.7, 1, 1.3), 1, "1 worse")


def noise():
    spread = lambda case, percent: [("service", case + " spread", percent, "percent")]  # noqa: E731
    for old, new, status, text in ((30, 0, 0, "1 too noisy"), (0, 30, 0, "1 too noisy"), (30, 30, 0, "1 too noisy"),
                                   (20, 24, 1, "1 worse"), (0, 0, 1, "1 worse")):
        compared("25 %% more with spreads %d and %d" % (old, new), ROWS + spread("wall", old),
                 changed(wall=1.25) + spread("wall", new), status, text)
    compared("a question less than its spread", ROWS + spread("wall", 13), changed(wall=1.12), 0, "0 questions")
    compared("another case's spread is none", ROWS + spread("memory", 90), changed(wall=1.25), 1, "not known")
    compared("better by less than the spread", ROWS + spread("wall", 50), changed(wall=0.7), 0, "0 better")


def busy():
    """Others had the processors meanwhile: of no matter to processor time and memory."""
    rows = [*ROWS, ("service", "x: processor time", 30, "ms/frame")]
    more = [(bench, case, value * (0.75 if unit == "column/s" else 1.3 if unit != "%" and unit != "times" else 1), unit)
            for bench, case, value, unit in rows]
    taken = lambda percent: [("machine", "taken by others " + when, value, "%")  # noqa: E731
                             for when, value in (("before", 0), ("middle", percent), ("after", 2))]
    for old, new, status, text in ((0, 0, 1, "5 worse, 0 questions, 0 too noisy"),
                                   (40, 0, 1, "4 worse, 0 questions, 1 too noisy"),
                                   (0, 40, 1, "4 worse, 0 questions, 1 too noisy"), (20, 20, 1, "5 worse, 0 questions"),
                                   (0, 100, 1, "4 worse"), (0, 1e9, 1, "4 worse"), (0, -5, 1, "5 worse")):
        compared("others took %g, then %g %%" % (old, new), rows + taken(old), more + taken(new), status, text)
    compared("and it is said", rows + taken(0), rows + taken(40), 0, "others used the machine of", "unsure by 67 %")


def cases():
    compared("a case is gone", ROWS, ROWS[1:], 0, "kernels, mel (column/s)", "is this meant? 1 cases are gone")
    compared("a case is new", ROWS[1:], ROWS, 0, "new cases", "kernels, mel (column/s)", "0 questions")
    compared("a unit is another", ROWS, changed()[1:] + [("kernels", "mel", 5, "ms")], 0, "new cases", "are gone")
    compared("from nothing to something", ROWS + [("load", "late", 0, "frames")],
             ROWS + [("load", "late", 9, "frames")], 0, "load, late (frames)", "is this meant? 1 cases have no ratio")
    code, out, err = run(write("old.csv", ROWS[:2]), write("new.csv", ROWS[2:]))
    check("no case in common", code == 2 and "no case in common" in err, (code, out, err))


def hostile():
    good = write("good.csv", ROWS)
    head = HEAD % ("x", "2026-01-01")
    rows = (("three fields", "a,b,1\n", "old.csv:5: not bench,case,value,unit"),
            ("five fields", "a,b,1,s,s\n", ":5: not"),
            ("an empty case", "a,,1,s\n", ":5: not"), ("no number", "a,b,fast,s\n", ":5: 'fast' is not a number"),
            ("an empty number", "a,b, ,s\n", ":5: not"), ("nan", "a,b,nan,s\n", ":5: nan is not a finite"),
            ("infinity", "a,b,1e999,s\n", ":5: 1e999 is not a finite"),
            ("twice", "a,b,1,s\na,b,2,s\n", ":6: this case has"),
            ("an open quote", 'a,"b,1,s\n', ":5: "),
            ("a spread below 0", "a,b spread,-1,percent\n", ":5: a spread below 0"),
            ("a yardstick of 0", "yardstick,fma before,0,GB/s\n", "a yardstick of 0"),
            ("a yardstick below 0", "yardstick,fma before,-1,GB/s\n", "a yardstick of -1"),
            ("a yardstick without a moment", "yardstick,fma,1,GB/s\n", "without its moment"),
            ("a yardstick in part", "yardstick,fma a,1,G\nyardstick,mem a,1,G\nyardstick,fma b,1,G\n", "lacks mem"),
            ("escapes for a terminal", "a,\x1b[2J,x,s\n", ":5: 'x' is not"), ("no rows", "", "no rows"),
            ("an escape in the row", "\x1b[2Ja\n", "?[2Ja"), ("a NUL", "a,b\0,1\n", ":5: "))
    for name, text, wanted in rows:
        bad = write("old.csv", [], head + text)
        code, out, err = run(bad, good)
        check(name, code == 2 and wanted in err and "Traceback" not in err and "\x1b" not in out + err,
              (code, out, err))
    for name, raw, wanted in (("no title", b"a,b,1,s\n", ":1: a row before"), ("not text", b"\xff\xfe\x00", "not text"),
                              ("empty", b"", "no rows"), ("too long", b"#" * (17 << 20), "more than 16 MiB")):
        bad = os.path.join(work.name, "old.csv")
        with open(bad, "wb") as file:
            file.write(raw)
        code, out, err = run(good, bad)
        check(name, code == 2 and wanted in err and "Traceback" not in err, (code, out, err))
    for name, arguments in (("no file", [os.path.join(work.name, "none.csv"), good]), ("a folder", [work.name, good]),
                            ("three files", [good] * 3), ("no limit", ["--fail", "nan", good, good]),
                            ("limits crossed", ["--ask", "30", good, good]), ("nothing", [])):
        code, out, err = run(*arguments)
        check(name, code == 2 and err and "Traceback" not in err, (code, out, err))
    returns = write("returns.csv", [], (head + "".join("%s,%s,%g,%s\n" % row for row in ROWS)).replace("\n", "\r\n"))
    code, out, err = run(returns, good)
    check("lines that end with CR LF", code == 0 and "4 cases compared" in out, (code, out, err))


def terminal():
    """A question on a terminal is answered there."""
    for name, new, answers, status in (("meant", changed(wall=1.12), b"y\n", 0),
                                       ("not meant", changed(wall=1.12), b"n\n", 1),
                                       ("no answer", changed(wall=1.12), b"\n", 1),
                                       ("end of input", changed(wall=1.12), b"\4", 1),
                                       ("one of two", changed(wall=1.12, fast=1.12), b"y\nn\n", 1),
                                       ("both", changed(wall=1.12, fast=1.12), b"y\ny\n", 0),
                                       ("worse whatever is answered", changed(wall=1.12, fast=1.3), b"y\n", 1),
                                       ("nothing asked", changed(wall=1.05), b"", 0)):
        files = write("old.csv", ROWS), write("new.csv", new)
        master, slave = pty.openpty()
        child = subprocess.Popen([sys.executable, COMPARE, *files], stdin=slave, stdout=slave, stderr=slave)
        os.close(slave)
        os.write(master, answers)
        out = b""
        with contextlib.suppress(OSError):  # the other side is closed
            while part := os.read(master, 4096):
                out += part
        os.close(master)
        check("on a terminal: " + name, child.wait(60) == status and out.count(b"[y/n]") == answers.count(b"\n")
              + answers.count(b"\4"), (child.returncode, out))


def merged():
    runs = [write("run%d.csv" % i, changed(wall=x, memory=1) + [("kernels", "mel spread", 5, "percent")]
                  + yardstick(x, x, x))
            for i, x in enumerate((1, 1.2, 1.1))]
    code, out, err = run("--merge", *runs)
    for row in ("service,wall,44,s\nservice,wall spread,9.091,percent\n", "service,memory,400,MiB\n",
                "service,memory spread,0,percent\n", "kernels,mel spread,5,percent\n", "# runs: 3, medians\n",
                "yardstick,fma before,110,Gflop/s\n"):
        check("merged: " + row.partition("\n")[0], code == 0 and row in out, (code, out, err))
    whole = write("merged.csv", [], out)
    code, out, err = run(whole, whole)
    check("a merged result is a result", code == 0 and "4 cases compared" in out and "no yardstick" not in out,
          (code, out, err))
    two_units = [write("u%d.csv" % i, [("encode", "fast", x, "ms/frame"), ("encode", "fast", 100, "kbit/s")])
                 for i, x in enumerate((1, 2, 3))]
    code, out, err = run("--merge", *two_units)
    check("two units of a case have one spread", out.count("fast spread,50,percent") == 1 == out.count("spread"), out)
    code, out, err = run("--merge", runs[0])
    check("one run has the spreads it had", "mel spread,5" in out and "wall spread" not in out, out)


def earlier():
    with tempfile.TemporaryDirectory() as folder:
        def result(name, date, wall):
            path = os.path.join(folder, name)
            with open(path, "w") as file:
                file.write(HEAD % (name, date) + "service,wall,%g,s\n" % wall)
            return path
        result("cpu-x2-2026-01-01.csv", "2026-01-01T10:00Z", 10)
        result("cpu-x2-2026-01-02-abcd123.csv", "2026-01-02T10:00Z", 20)
        result("cpu-x2-2026-01-02-fff1234.csv", "2026-01-02T09:00Z", 30)
        result("cpu-x2-load-2026-01-03-abcd124.csv", "2026-01-03T09:00Z", 40)
        result("cpu-x4-2026-01-03-abcd124.csv", "2026-01-03T09:00Z", 40)
        result("cpu-x2-2026-01-09-abcd125.csv", "2026-01-09T09:00Z", 50)
        code, out, err = run(result("cpu-x2-2026-01-04-bbbb111.csv", "2026-01-04T10:00Z", 20))
        check("the newest earlier one of the machine", code == 0 and "old: " in out
              and "commit cpu-x2-2026-01-02-abcd123.csv" in out, (code, out, err))
        code, out, err = run(result("gpu-x1-2026-01-04-bbbb111.csv", "2026-01-04T10:00Z", 20))
        check("there is none", code == 2 and "no earlier result of gpu-x1" in err, (code, out, err))
        code, out, err = run(result("mine.csv", "2026-01-04T10:00Z", 20))
        check("a name that says nothing", code == 2 and "not named" in err, (code, out, err))


def places():
    """machine.sh, in a repository of its own: a commit's result, and one of changes that are in no commit."""
    with tempfile.TemporaryDirectory() as folder:
        git = ["git", "-C", folder, "-c", "user.name=n", "-c", "user.email=n@localhost"]
        for arguments in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "one"]):
            subprocess.run([*git, *arguments], check=True)
        ask = [". " + os.path.join(ROOT, "bench", "machine.sh") + "; echo $(nproc) $(git rev-parse --short HEAD); "
               "result_file; result_file load"]
        cores, plain, load = subprocess.check_output(["bash", "-euc", *ask], cwd=folder, text=True).splitlines()
        count, commit = cores.split()
        check("a commit's result", plain.startswith("bench/results/") and "-x%s-2" % count in plain
              and plain.endswith("-%s.csv" % commit), plain)
        check("of a kind", "-x%s-load-2" % count in load, load)
        check("its folder is there", os.path.isdir(os.path.join(folder, "bench", "results")))
        with open(os.path.join(folder, "file"), "w") as file:
            file.write("changed")
        subprocess.run([*git, "add", "file"], check=True)
        _, plain, _ = subprocess.check_output(["bash", "-euc", *ask], cwd=folder, text=True).splitlines()
        check("changes are no commit", plain.startswith("build/bench/results/") and plain.endswith("-%s.csv" % commit),
              plain)


def real():
    program = os.path.join(BUILD, "bench_yardstick")
    if SANITIZED or not os.path.exists(program):
        print("SKIP: bench_yardstick is not built, or to be slow")
        return
    rows = "".join(subprocess.check_output([program, when], text=True, timeout=120) for when in ("before", "after"))
    path = write("real.csv", [], HEAD % ("x", "2026-01-01") + rows + "service,wall,40,s\n")
    code, out, err = run(path, path)
    check("the real yardstick", code == 0 and "1 times as fast: branches 1, fma 1, memory 1" in out,
          (code, out, err, rows))
    check("a moment's name is needed", subprocess.run([program], capture_output=True).returncode == 2)


for part in (changes, machines, noise, busy, cases, hostile, terminal, merged, earlier, places, real):
    part()
work.cleanup()
finish()
