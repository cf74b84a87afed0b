# SPDX-License-Identifier: Apache-2.0
"""The measurements of the picture bench, one function a figure: what is sent, what is compared, which rows come of it.
Definitions of the figures stand in picture_judge.py; here is which clips they are taken on.

A row is (case, value, unit); `notes` keeps what the page draws: curves, sheets and the rows themselves.
"""
import csv
import glob
import os
import subprocess
import sys

import numpy as np

import picture_cases as cases
import picture_judge as judge
import picture_voices as voices

GENERATE = {"silence": "generate", "fit_audio_longer": "ping-pong"}


class Source:
    """A face as it is: its frames, boxes, and what the mesh sees. Frames come through the service, unchanged
    (opacity 0), so that they are what its outputs are made of."""

    def __init__(self, bench, path):
        width, height, rate = cases.size_and_rate(path)
        self.path, self.still = path, cases.is_still(path)
        seconds = 0.2 if self.still else frame_count(path) / rate
        voice = cases.save("silence-%g" % seconds, voices.silence(seconds))
        self.clip = bench.service.sync(path, voice=voice, strength=0, silence="generate")
        self.area = self.clip.area()
        self.rate = self.clip.rate
        self.origin = np.array(self.area[:2])
        boxes = self.clip.boxes - np.tile(self.origin, 2)
        known = np.nonzero(~np.isnan(boxes[:, 0]))[0]
        if not len(known):
            raise LookupError("no face found in " + os.path.basename(path))
        boxes[: known[0]] = boxes[known[0]]  # the first frame needs one
        frames = range(1 if self.still else len(self.clip))
        self.regions, self.points = bench.mesh.follow((self.clip.rgb(i, self.area) for i in frames), boxes)
        self.opening = judge.opening(self.points)

    def at(self, clip):
        """For each frame of an output, the source frame's number here."""
        return clip.source_frames % len(self.regions)

    def see(self, bench, clip):
        """Opening of an output's frames."""
        points = []
        for i, k in enumerate(self.at(clip)):
            cx, cy, side, angle = self.regions[k]
            reach = 0.72 * side + 4  # half of a turned square's diagonal
            corner = np.maximum(self.origin + [cx - reach, cy - reach], self.area[:2]).astype(int) // 2 * 2
            end = np.minimum(corner + int(2 * reach), self.area[2:])
            moved = corner - self.origin
            found, _ = bench.mesh.points(clip.rgb(i, (*corner, *end)), (cx - moved[0], cy - moved[1], side, angle))
            points.append(found + moved)
        return judge.opening(points)

    def luma(self, clip):
        """Source luma for each frame of an output."""
        return self.clip.luma(self.area)[self.at(clip)]

    def mouth(self, k, scale):
        shape = (self.area[3] - self.area[1], self.area[2] - self.area[0])
        return judge.inside_ellipse(shape, judge.mouth_ellipse(self.points[k]), scale)


def frame_count(path):
    text = subprocess.run(["ffprobe", "-v", "error", "-select_streams", "v:0", "-count_packets", "-show_entries",
                           "stream=nb_read_packets", "-of", "csv=p=0", path], check=True, stdout=subprocess.PIPE,
                          text=True).stdout
    return int(text.strip().split(",")[0])


def grid_clips(person):
    return sorted(glob.glob(os.path.join(cases.MEDIA, "grid", person, "*.mp4")))


class Bench:
    def __init__(self, service, mesh, quick):
        self.service, self.mesh, self.quick = service, mesh, quick
        self.rows, self.curves, self.sheets, self.sources, self.rest = [], [], [], {}, {}

    def row(self, case, value, unit):
        self.rows.append((case, value, unit))
        csv.writer(sys.stdout, lineterminator="\n").writerow(("picture", case, "%.4g" % value, unit))
        sys.stdout.flush()

    def value(self, case):
        return next((v for c, v, _ in self.rows if c == case), float("nan"))

    def source(self, path):
        if path not in self.sources:
            self.sources[path] = Source(self, path)
        return self.sources[path]

    def close(self):
        for source in self.sources.values():
            source.clip.close()

    def sync_rows(self, name, clips):
        r, best, lag = judge.correlation(clips)
        self.row(name + " r", r, "1")
        self.row(name + " r at best lag", best, "1")
        self.row(name + " lag", 1e3 * lag, "ms")


def rests(bench):
    """Opening that the mesh shows for each face's closed lips: the least (5th percentile) of GRID's people, all of
    whose sentences have a p, b or m or a rest; the presenter's and Hopper's, whose lips are closed; of other faces it
    is not known and is taken as the middle of those."""
    known = {}
    for name, path in cases.faces(("s2", "s34", "lbbc2a", "presenter", "hopper")).items():
        source = bench.source(path)
        known[name] = float(np.percentile(source.opening, 50 if name in ("presenter", "hopper") else 5))
        bench.row("rest opening %s" % name, known[name], "eye distances")
    bench.rest = known
    bench.rest_usual = float(np.median(list(known.values()))) if known else 0.0


def known_voices(bench):
    """Unseen voices on unseen faces, against the known opening."""
    names = list(voices.UNSEEN)
    jobs, clips, closed, moved = [], {}, [], []
    for k, (name, path) in enumerate(cases.faces(("hopper", "s34", "presenter") if bench.quick else None).items()):
        for i, voice in enumerate(names):
            if not bench.quick or i == 2 * k:
                text = (i + k) % len(voices.TEXTS)
                jobs.append(((name, path, voice, text), (path, None, cases.said(voice, text)[0]), GENERATE))
    for (name, path, voice, text), out in bench.service.each(jobs):
        wav_path, _, phones = cases.said(voice, text)
        source = bench.source(path)
        with out:
            o, times = source.see(bench, out), np.arange(len(out)) / out.rate
            if name not in clips:
                bench.sheets.append(("talk", name, source, keep(bench, path, wav_path, out, source, phones)))
        known = lambda t, p=phones: voices.opening(p, t)  # noqa: E731
        spans, speech = voices.closures(phones), (phones[0][1], phones[-1][0])
        zeros = (bench.rest.get(name, bench.rest_usual), own_rest(times, o, phones), 0)
        if name in ("s2", "s34", "lbbc2a"):
            moved.append((o, voices.opening(phones, times), source.opening[source.at(out)]))
        closed.append([judge.closures(times, o, spans, zero, speech=speech) for zero in zeros])
        if name not in clips:
            bench.curves.append(("%s, %s" % (name, voice), times, o, known(times), spans))
        clips.setdefault(name, []).append((times, o, known))
        bench.row("%s, %s: r" % (name, voice), judge.correlation([clips[name][-1]])[0], "1")
        bench.row("%s, %s: closures" % (name, voice), 100 * closed[-1][0][0], "%")
        bench.row("%s, %s: amplitude" % (name, voice), judge.amplitude(o), "eye distances")
    if not clips:
        return
    for name, several in clips.items():
        bench.sync_rows("known opening, %s:" % name, several)
    bench.sync_rows("known opening, all:", [clip for several in clips.values() for clip in several])
    for i, what in enumerate(("closures", "closures from its own rest", "closures raw")):
        count = closure_rows(bench, "known opening, all: %s" % what, [c[i] for c in closed])
    bench.row("known opening, all: p b m", count, "closures")
    if moved:
        followed_rows(bench, "known opening, GRID's people:", moved)


def closure_rows(bench, name, closed):
    """closed: what judge.closures says of each clip. -> how many closures there are."""
    part = [c for c in closed if c[1]]
    count = sum(n for _, n, _ in part)
    if count:
        bench.row(name, 100 * sum(s * n for s, n, _ in part) / count, "%")
        bench.row(name + " by chance", 100 * float(np.nanmean([c for _, _, c in part])), "%")
    return count


def followed_rows(bench, name, clips):
    """Whose mouth it is: the voice's, or the one that the picture had."""
    voice, picture = judge.follows(clips)
    bench.row(name + " follows the voice", float(voice), "1")
    bench.row(name + " follows the picture's own mouth", float(picture), "1")


def own_rest(times, o, phones):
    """What the mesh sees of the output's own lips where the voice pauses: their least 300 ms."""
    quiet = np.zeros(len(times), bool)
    for begin, end, name in phones:
        if voices.kind_of(name)[0] == "rest" and end - begin > 0.15:
            quiet |= (times > begin + 0.04) & (times < end - 0.04)
    return float(np.sort(o[quiet])[: max(1, round(0.3 / (times[1] - times[0])))].mean()) if quiet.any() else 0.0


def keep(bench, path, wav_path, out, source, phones, count=14, first=6):
    """Frames for a sheet: the source's, the output's, and those of the original's paste."""
    picked = [i for i in range(first, min(len(out), first + count))]
    shown = {"source": [source.clip.rgb(int(source.at(out)[i]), source.area) for i in picked],
             "default": [out.rgb(i, source.area) for i in picked]}
    old = dict(GENERATE, **cases.OLD_PASTE, align="none")
    with bench.service.sync(path, voice=wav_path, **old) as other:
        shown["original's paste"] = [other.rgb(i, source.area) for i in picked]
    names = []
    for i in picked:
        t = i / out.rate
        names.append(next((n for a, b, n in phones if a <= t < b), ""))
    return {"frames": shown, "names": names, "points": [source.points[source.at(out)[i]] for i in picked]}


def grid_people(bench):
    """Held-out people of GRID: the voice of one clip on another clip of the same person, against what the person's own
    lips did, and which of both clips' lips it follows, for all sentences are built alike and their lips agree by
    themselves ("r of its own lips"); the same on its own clip; and the known opening and the known closures against the
    person's lips, as a measure of those."""
    crossed, left, moved, same, teacher, closed, jobs = [], [], [], [], [], [], []
    for person in cases.HELD_OUT:
        paths = grid_clips(person)[1 : 4 if bench.quick else 11]
        if not paths:
            cases.skip("GRID's %s: no ../shared/media/grid/%s" % (person, person))
        for i, path in enumerate(paths):
            for other in (paths[(i + len(paths) // 2) % len(paths)], path):
                jobs.append(((path, other), (other, None, cases.own_voice(path)), GENERATE))
    for (path, other), out in bench.service.each(jobs):
        speaker, picture = bench.source(path), bench.source(other)
        own = judge.curve(np.arange(len(speaker.opening)) / 25, speaker.opening)
        t = np.arange(min(len(out), len(speaker.opening))) / 25
        with out:
            o = picture.see(bench, out)[: len(t)]
        (same if path == other else crossed).append((t, o, own))
        if path == other:
            phones = voices.align(voices.read_wav(cases.own_voice(path)), voices.grid_sentence(os.path.basename(path)))
            teacher.append((t, own(t), lambda x, p=phones: voices.opening(p, x)))
            person = os.path.basename(os.path.dirname(path))
            speech = (phones[0][1], phones[-1][0])
            closed.append(judge.closures(t, own(t), voices.closures(phones), bench.rest[person], speech=speech))
            continue
        mine = picture.opening[picture.at(out)[: len(t)]]
        left.append((t, mine, own))
        moved.append((o, own(t), mine))
        if len(crossed) in (1, 11):
            bench.curves.append(("voice of %s on another clip" % os.path.basename(path), t, o, own(t), []))
    if not crossed:
        return
    bench.sync_rows("GRID, another clip:", crossed)
    bench.row("GRID, another clip: r of its own lips", judge.correlation(left)[0], "1")
    followed_rows(bench, "GRID, another clip:", moved)
    bench.sync_rows("GRID, same clip:", same)
    bench.sync_rows("GRID, known opening against their own lips:", teacher)
    closure_rows(bench, "GRID, their own lips: closures", closed)
    ratio = [judge.amplitude(o) / judge.amplitude(own(t)) for t, o, own in crossed]
    bench.row("GRID, another clip: amplitude against their own", float(np.mean(ratio)), "1")


def stillness(bench):
    """Speech, 1.5 s of silence, speech. The first 300 ms and the last 150 ms of the silence do not count: the voice
    must be quiet for 200 ms before the service calls it silence, and lips are ahead of the sound. The presenter's head
    moves and her own lips stay closed: what the mesh sees of them moves with the head, and is taken off."""
    wav, phones = voices.espeak("Maybe people become happy at home.", *voices.UNSEEN["espeak us+m2"][1:])
    for room, dbfs in (("digital silence", None), ("room noise", -58)):
        quiet = voices.silence(1.5, dbfs)
        voice, names = voices.join((wav, phones), quiet, (wav, phones))
        if dbfs is not None:
            voice = voice + voices.silence(len(voice) / voices.RATE, dbfs, 1)
        path = cases.save("still-" + room, voice)
        begin = len(wav) / voices.RATE
        for policy in ("generate", "keep-original"):
            ratios = []
            for name, face in cases.faces(("hopper", "astronaut", "presenter")).items():
                if bench.quick and name != "hopper":
                    continue
                source = bench.source(face)
                with bench.service.sync(face, voice=path, silence=policy, fit_audio_longer="ping-pong") as out:
                    o = source.see(bench, out)
                    o = o if source.still else o - source.opening[source.at(out)]
                    t = np.arange(len(out)) / out.rate
                ratios.append(judge.stillness(t, o, (begin + 0.3, begin + 1.35), (0.1, begin - 0.1)))
                bench.row("%s, %s, %s: stillness" % (room, policy, name), 100 * ratios[-1], "%")
                if name == "hopper":
                    known = voices.opening(names, t)
                    bench.curves.append(("%s, %s, %s" % (name, room, policy), t, o, known, []))
            if ratios:
                bench.row("%s, %s: stillness" % (room, policy), 100 * float(np.mean(ratios)), "%")


def mean_rows(bench, case, values, unit):
    """The mean, which the aims are for, and what it hides."""
    bench.row(case, float(np.mean(values)), unit)
    bench.row(case + ", least", float(np.min(values)), unit)
    bench.row(case + ", greatest", float(np.max(values)), unit)


def pasted(name, ours, theirs, where):
    """Nothing pasted would make no seam, and be as sharp and as still as the source."""
    if (ours != theirs)[np.broadcast_to(where, ours.shape)].mean() < 0.1:
        raise RuntimeError("%s: the mouth is still the source's" % name)


def pastes(bench):
    """Seam and sharpness on stills, where the mask can be found from the outputs: default, the original's paste, and
    the default mask on the bare face."""
    wav, _ = voices.speak("flite slt", voices.TEXTS[0])
    seconds = 1.6 if bench.quick else 3
    voice = cases.save("short", wav[: int(seconds * voices.RATE)])
    totals = {}
    for name, path in cases.faces().items():
        if bench.quick and name not in ("hopper", "presenter"):
            continue
        still = cases.still_of(name, path)
        source = bench.source(still)
        runs = {"default": {}, "bare": {"colour_match": 0, "sharpness": 0}, "whole": cases.OLD_PASTE}
        if "align" in bench.service.knows:
            runs["old"] = dict(cases.OLD_PASTE, align="none")
        luma, frame = {}, {}
        for run, options in runs.items():
            with bench.service.sync(still, voice=voice, silence="generate", **options) as out:
                luma[run] = out.luma(source.area)[5:]
                frame[run] = out.rgb(30, source.area)
                box = out.boxes[10] - [*source.origin, *source.origin]
                if run == "default":
                    outside = changed_outside(out, source.clip)
        luma.setdefault("old", luma["whole"])
        frame.setdefault("old", frame["whole"])
        before = np.repeat(source.clip.luma(source.area)[:1], len(luma["default"]), 0)
        reach = max(2.0, (box[2] - box[0]) / 60)
        mask = judge.opacity(luma["bare"], luma["whole"], before, reach)
        frame["source"] = source.clip.rgb(0, source.area)
        where = source.mouth(0, 1.3)
        for run, edge in (("default", mask), ("old", judge.box_mask(before.shape[1:], box))):
            pasted("still " + name, luma[run], before, where)
            ratio, worst = judge.seam(luma[run], before, edge)
            sharp = judge.sharpness(luma[run], before, where)
            label = {"default": "default", "old": "original's paste"}[run]
            for what, value in (("seam", ratio), ("seam worst sector", worst), ("sharpness", sharp)):
                bench.row("still %s, %s: %s" % (name, label, what), value, "1")
                totals.setdefault((label, what), []).append(value)
        bench.row("still %s, default: samples changed outside the box" % name, outside, "samples")
        bench.sheets.append(("close", name, source, {"frames": frame, "mask": mask, "ring": judge.ring(mask)[0]}))
    for (label, what), values in totals.items():
        mean_rows(bench, "stills, %s: %s" % (label, what), values, "1")


def changed_outside(out, source, at=None):
    """Luma samples outside all boxes that differ from the source."""
    box = out.boxes[~np.isnan(out.boxes[:, 0])]
    # A turned box sticks out of the upright one by up to sin(35 degrees) of its half side.
    reach = 0.3 * max(box[0, 2] - box[0, 0], box[0, 3] - box[0, 1]) + 2
    x0, y0, x1, y1 = (int(v) for v in (box[:, 0].min() - reach, box[:, 1].min() - reach, box[:, 2].max() + reach,
                                       box[:, 3].max() + reach))
    differ = out.luma() != source.luma()[[0] * len(out) if at is None else at]
    differ[:, max(0, y0) : max(0, y1), max(0, x0) : max(0, x1)] = False
    return int(differ.sum())


def moving(bench):
    """Where heads move. Sharpness: GRID's people under their own voice, so that the source says the same, and the
    presenter. Swimming: the presenter, who looks about with closed lips, under a room's noise that is generated: what
    was pasted should move as the head does; the mean difference of their movements from frame to frame."""
    room = cases.save("room-long", voices.silence(3, -58, 4))
    clips = [(person, path, cases.own_voice(path)) for person in cases.HELD_OUT
             for path in grid_clips(person)[1 : 2 if bench.quick else 3]]
    clips += [("presenter", path, room) for path in cases.faces(("presenter",)).values()]
    totals = {}
    for name, path, voice in clips:
        source = bench.source(path)
        for label, options in (("default", {}), ("original's paste", dict(cases.OLD_PASTE, align="none"))):
            with bench.service.sync(path, voice=voice, **GENERATE, **options) as out:
                count = min(len(out), 75)
                ours, theirs = out.luma(source.area)[:count], source.luma(out)[:count]
                at = source.at(out)[:count]
            lips = np.array([source.mouth(k, 1.3) for k in at])
            pasted("moving head " + name, ours, theirs, lips)
            ratio = judge.sharpness(ours, theirs, lips)
            totals.setdefault((label, "sharpness", "1"), []).append(ratio)
            bench.row("moving head %s, %s: sharpness" % (name, label), ratio, "1")
            if name == "presenter":
                lips = np.array([source.mouth(k, 1.6) for k in at])
                swim = judge.jitter(judge.shifts(ours, lips) - judge.shifts(theirs, lips))
                totals.setdefault((label, "swimming", "px"), []).append(swim)
    for (label, what, unit), values in totals.items():
        mean_rows(bench, "moving heads, %s: %s" % (label, what), values, unit)


def jitter(bench):
    """A head that stands still before a sensor with noise, in silence that is generated."""
    voice = cases.save("room", voices.silence(2.4, -58, 3))
    totals = {}
    for name, path in cases.faces(("hopper", "presenter")).items():
        still = cases.still_of(name, path)
        source = bench.source(still)
        frames, shape = cases.still_frames(still, 60, 2.0)
        lips = source.mouth(0, 1.6)
        for label, options in (("default", {}), ("original's paste", dict(cases.OLD_PASTE, align="none"))):
            with bench.service.sync(frames, shape, voice, silence="generate", **options) as out:
                count = len(out)
                luma, boxes = out.luma(source.area), out.boxes
            raw = np.fromfile(frames, np.uint8).reshape(60, -1)[:count, : out.width * out.height]
            x0, y0, x1, y1 = source.area
            before = raw.reshape(count, out.height, out.width)[:, y0:y1, x0:x1]
            pasted("still head " + name, luma, before, lips)
            centre = (boxes[:, :2] + boxes[:, 2:]) / 2
            for what, value in (("pasted region", judge.jitter(judge.shifts(luma, lips))),
                                ("the same in the source", judge.jitter(judge.shifts(before, lips))),
                                ("box centre", judge.jitter(np.diff(centre, axis=0))),
                                ("box size", float(np.mean(np.abs(np.diff(boxes[:, 2] - boxes[:, 0])))))):
                bench.row("still head %s, %s: %s moves" % (name, label, what), value, "px")
                totals.setdefault((label, what), []).append(value)
    for (label, what), values in totals.items():
        mean_rows(bench, "still heads, %s: %s moves" % (label, what), values, "px")


def robust(bench):
    """What callers also send: known voices on hard pictures, other people, other languages, singing, music and noise
    under the voice."""
    usual = "espeak us+m2"
    wav, phones = voices.espeak("Maybe people become happy at home. Papa, I am above the big brown farm.",
                                *voices.UNSEEN[usual][1:])
    told = [("voice", wav, phones)]
    pictures = cases.faces()
    jobs = []
    for name, face, filters in cases.HARD[:: 3 if bench.quick else 1]:
        if face in pictures:
            jobs.append((name, cases.changed("hard-" + name, pictures[face], filters), *told[0][1:]))
    for name, pattern in cases.OTHERS[:: 3 if bench.quick else 1]:
        path = cases.media(pattern)
        if path:
            jobs.append((name, path, *told[0][1:]))
        else:
            cases.skip("%s: no ../shared/media/%s" % (name, pattern))
    heard = list(bench_voices(wav, phones))[:: 4 if bench.quick else 1]
    for name, other, names in heard:
        if "s34" in pictures:
            jobs.append((name, pictures["s34"], other, names))
    for name, path, voice, names in jobs:
        try:
            source = bench.source(path)
        except LookupError as fault:
            cases.skip("%s: %s" % (name, fault))
            bench.row("hard, %s: frames synced" % name, 0, "%")
            continue
        with bench.service.sync(path, voice=cases.save("hard-" + name, voice), **GENERATE) as out:
            o, times = source.see(bench, out), np.arange(len(out)) / out.rate
            bench.row("hard, %s: frames synced" % name, 100 * float(out.synced.mean()), "%")
            shown = {"default": [out.rgb(i, source.area) for i in range(6, min(len(out), 34), 2)]}
            points = [source.points[source.at(out)[i]] for i in range(6, min(len(out), 34), 2)]
        r, best, lag = judge.correlation([(times, o, lambda t, p=names: voices.opening(p, t))])
        bench.row("hard, %s: r" % name, r, "1")
        bench.row("hard, %s: lag" % name, 1e3 * lag, "ms")
        bench.sheets.append(("hard", "%s (r %.2f)" % (name, r), source, {"frames": shown, "points": points}))


def bench_voices(wav, phones):
    """(name, wav, phones) of voices that are not plain English speech."""
    for name, voice, text in cases.LANGUAGES:
        yield (name, *voices.espeak(text, voice, 160, 50))
    yield ("singing", *voices.sing(wav, phones))
    seconds = len(wav) / voices.RATE
    yield ("music 6 dB under the voice", voices.under(wav, voices.music(seconds), 6), phones)
    yield ("noise 10 dB under the voice", voices.under(wav, voices.silence(seconds, -20), 10), phones)
    yield ("quiet (-34 dB)", (wav * 0.02).astype(np.float32), phones)


def checkpoints(bench, programs, build):
    """Another checkpoint: a network of the original's widths with seeded weights goes through the default profile and
    through WAV2LIP_EXACT; that the latter equals the goldens is what the unit test says, where it is built."""
    wide = os.path.join(cases.ROOT, "build", "bench", "wide.safetensors")
    program = os.path.join(programs, "bench_wide")
    if not os.path.exists(wide):
        if not os.path.exists(program):
            return cases.skip("full-width network: bench_wide is not built")
        os.makedirs(os.path.dirname(wide), exist_ok=True)
        subprocess.run([program, wide], check=True)
    voice = cases.save("wide", voices.silence(0.6, -30))
    for name, path in cases.faces(("s2",)).items():
        source = bench.source(path)
        with cases.Service(build, wide) as service:
            with service.sync(path, voice=voice, silence="generate") as out:
                bench.row("full-width network, default: frames synced", 100 * float(out.synced.mean()), "%")
                bench.row("full-width network, default: samples changed outside the box",
                          changed_outside(out, source.clip, source.at(out)), "samples")
            with service.sync(*cases.rgb_frames(path), profile="wav2lip-exact", voice=voice) as out:
                bench.row("full-width network, WAV2LIP_EXACT: frames synced", 100 * float(out.synced.mean()), "%")
    for test in ("unit_exact", "golden_paste", "golden_crop", "golden_net"):
        path = os.path.join(programs, "tests", "test_" + test)
        if os.path.exists(path):
            code = subprocess.run([path], cwd=cases.ROOT, env=dict(os.environ, LS_BUILD=programs),
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE).returncode
            if code == 77:
                cases.skip("goldens: test_%s has not what it needs" % test)
                continue
            bench.row("goldens of the original, %s" % test.replace("_", "/"), float(code == 0), "1 = equal")
        else:
            cases.skip("goldens: test_%s is not built" % test)


def exact(bench):
    """The original's arithmetic, for the eye: a clip under its own voice."""
    for name, path in cases.faces(("s34",)).items():
        source, voice = bench.source(path), cases.own_voice(path)
        with bench.service.sync(*cases.rgb_frames(path), profile="wav2lip-exact", voice=voice) as out:
            picked = range(20, min(len(out), 34))
            shown = {"WAV2LIP_EXACT": [out.rgb(i, source.area) for i in picked]}
            points = [source.points[source.at(out)[i]] for i in picked]
        bench.sheets.append(("hard", "WAV2LIP_EXACT, %s" % name, source, {"frames": shown, "points": points}))


def look(bench, folder):
    """H.264 with sound, for the look of it; files beside the page."""
    out = []
    voice = cases.said("flite slt", 0)[0]
    for name, path in cases.faces(("presenter", "hopper")).items():
        file = os.path.join(folder, "look-%s.mp4" % name)
        bench.service.call(path, voice, file, fit_audio_longer="ping-pong", crf=18)
        out.append(file)
    return out


def mouth_error(bench, program, weights):
    """The generator alone, on held-out people with their own voice: upper half of the face from the frame itself, lower
    half from the frame 12 later (its pose brought to this one's by the mesh's points around eyes and nose), which is
    all that it is told of the mouth. Region: rows 52 to 91, columns 22 to 73 of the 96 px face. Against copying that
    reference, and against copying it unaligned."""
    if not os.path.exists(program):
        return cases.skip("mouth error: %s is not built" % os.path.basename(program))
    stable = [33, 133, 263, 362, 168, 6, 197, 9, 8, 151, 4, 127, 356]
    jobs, truths, copies, plain = [], [], [], []
    for person in cases.HELD_OUT:
        for path in grid_clips(person)[1 : 3 if bench.quick else 7]:
            source = bench.source(path)
            count = len(source.points)
            wav = voices.read_wav(cases.own_voice(path))
            faces = []
            for i in range(0, count, 3 if bench.quick else 2):
                k = (i + 12) % count
                box = source.clip.boxes[i]
                if np.isnan(box[0]):
                    continue
                corner = box[:2] - source.origin
                scale = 96 / (box[2:] - box[:2])
                cut = np.array([[scale[0], 0, -corner[0] * scale[0]], [0, scale[1], -corner[1] * scale[1]]])
                crop = lambda frame, m: judge.warp(judge.soften(frame, 1 / scale.mean()), m, (96, 96))  # noqa: E731
                target, reference = source.clip.rgb(i, source.area), source.clip.rgb(k, source.area)
                move = judge.similarity(source.points[k][stable], source.points[i][stable])
                moved = np.concatenate([cut[:, :2] @ move[:, :2], (cut[:, :2] @ move[:, 2] + cut[:, 2])[:, None]], 1)
                face, other = crop(target, cut), crop(reference, moved)
                truths.append(face)
                copies.append(other)
                plain.append(crop(reference, cut))
                faces.append((i / source.rate, np.concatenate([face[:48], other[48:]])))
            jobs.append((wav, faces))
    if not truths:
        return
    made = run_faces(program, weights, jobs)
    cut = (slice(52, 92), slice(22, 74))
    for name, pictures in (("generated", made), ("reference copied", copies), ("reference copied unaligned", plain)):
        pairs = [(np.asarray(a)[cut].round(), np.asarray(b)[cut].round()) for a, b in zip(truths, pictures)]
        bench.row("mouth error, %s: PSNR" % name, float(np.mean([judge.psnr(a, b) for a, b in pairs])), "dB")
        bench.row("mouth error, %s: SSIM" % name, float(np.mean([judge.ssim(a, b) for a, b in pairs])), "1")
    bench.row("mouth error: gain over copying", bench.value("mouth error, generated: PSNR")
              - bench.value("mouth error, reference copied: PSNR"), "dB")
    bench.sheets.append(("faces", "mouth error", None, {"rows": [truths[5:65:5], made[5:65:5], copies[5:65:5]]}))


def run_faces(program, weights, jobs):
    """bench_picture_faces on [(wav, [(time, face RGB)])] -> faces RGB."""
    data = []
    for wav, faces in jobs:
        data += [np.int32(len(wav)).tobytes(), wav.astype("<f4").tobytes(), np.int32(len(faces)).tobytes()]
        for time_s, face in faces:
            data += [np.float64(time_s).tobytes(), face[..., ::-1].round().clip(0, 255).astype(np.uint8).tobytes()]
    out = subprocess.run([program, weights], input=b"".join(data), stdout=subprocess.PIPE, check=True).stdout
    return list(np.frombuffer(out, np.uint8).reshape(-1, 96, 96, 3)[..., ::-1])
