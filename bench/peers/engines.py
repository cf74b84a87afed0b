#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""One library's engines, driven line by line, as bench_generate is for ours:  engines.py LIBRARY WEIGHTS THREADS

LIBRARY: openvino, onnxruntime or torch; WEIGHTS: wide or demo (prepare.py). Says "ready" and its version. Then each line
of standard input is answered by one line of standard output; other lines there are the library's.

  open ENGINE MODE BATCH        compiles it and runs it once; "= seconds that it took"
  run ENGINE MODE BATCH CALLS   "= seconds of wall clock, of processors, faces made"
  write ENGINE FILE             float32 [64][96][96][3] of all inputs, by the engine opened for "shared 1"; "= ok"

MODE: "shared": one call after the other, each on all threads; "flow": as many at a time as there are threads, each on
one. Only OpenVINO has the latter in one process (streams); of the others as many processes are started with a
thread each. A call has BATCH faces as float tensors; what of it comes back is the library's own array.
"""
import resource
import sys
import time

import numpy as np

import prepare


def processor_s():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


class OpenVino:
    engines = ["openvino fp32", "openvino bf16", "openvino int8"]

    def __init__(self, weights, threads):
        import openvino
        self.ov, self.weights, self.threads = openvino, weights, threads
        self.core = openvino.Core()
        self.has_bf16 = "BF16" in self.core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        self.version = "OpenVINO " + openvino.__version__.split("-")[0]

    def open(self, engine, mode, batch):
        kind = engine.split()[1]
        if kind == "bf16" and not self.has_bf16:
            raise RuntimeError("this processor does not multiply bfloat16")
        if kind == "int8":
            model = self.core.read_model(prepare.int8_file(self.weights))
            model.reshape({"mel": [batch, 1, 80, 16], "face": [batch, 6, 96, 96]})
        else:
            model = self.core.read_model(prepare.onnx_file(self.weights, batch))
        # What int8 leaves over is done in bfloat16 where the processor has it, which is OpenVINO's default.
        precision = "bf16" if kind != "fp32" and self.has_bf16 else "f32"
        compiled = self.core.compile_model(model, "CPU", {
            "INFERENCE_NUM_THREADS": self.threads, "INFERENCE_PRECISION_HINT": precision,
            "PERFORMANCE_HINT": "THROUGHPUT" if mode == "flow" else "LATENCY",
            **({"NUM_STREAMS": self.threads} if mode == "flow" else {})})
        if mode == "flow":
            queue = self.ov.AsyncInferQueue(compiled, self.threads)
            return lambda calls: self.flow(queue, calls)
        request = compiled.create_infer_request()
        return lambda calls: [request.infer({"mel": m, "face": f}, share_inputs=True, share_outputs=True)[0]
                              for m, f in calls][-1]

    @staticmethod
    def flow(queue, calls):
        for mel, face in calls:
            queue.start_async({"mel": mel, "face": face}, share_inputs=True)
        queue.wait_all()

    tensor = staticmethod(lambda engine, array: array)


class OnnxRuntime:
    engines = ["onnxruntime fp32"]

    def __init__(self, weights, threads):
        import onnxruntime
        self.ort, self.weights, self.threads = onnxruntime, weights, threads
        self.version = "onnxruntime " + onnxruntime.__version__

    def open(self, engine, mode, batch):
        options = self.ort.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = self.threads, 1
        session = self.ort.InferenceSession(prepare.onnx_file(self.weights, batch), options, ["CPUExecutionProvider"])
        return lambda calls: [session.run(None, {"mel": m, "face": f})[0] for m, f in calls][-1]

    tensor = staticmethod(lambda engine, array: array)


class Torch:
    engines = ["torch eager fp32", "torch eager bf16", "torch compile fp32", "torch compile bf16"]

    def __init__(self, weights, threads):
        import torch
        self.torch, self.weights = torch, weights
        torch.set_num_threads(threads)
        torch.set_grad_enabled(False)
        self.nets = {}
        self.version = "torch " + torch.__version__

    def make(self, engine):
        """The module with its batch norms, as the original program runs it; the compiled one is frozen, which folds
        them and packs the weights."""
        net = prepare.net(self.weights).to(memory_format=self.torch.channels_last)
        if engine.endswith("bf16"):
            net = net.bfloat16()
        if "compile" in engine:
            import torch._inductor.config as config
            config.freezing = True
            net = self.torch.compile(net, dynamic=False)
        return net

    def open(self, engine, mode, batch):
        if engine not in self.nets:
            self.nets[engine] = self.make(engine)
        net = self.nets[engine]
        return lambda calls: [net(m, f) for m, f in calls][-1].float().numpy()

    def tensor(self, engine, array):
        kind = self.torch.bfloat16 if engine.endswith("bf16") else self.torch.float32
        return self.torch.from_numpy(array).to(kind).contiguous(memory_format=self.torch.channels_last)


LIBRARIES = {"openvino": OpenVino, "onnxruntime": OnnxRuntime, "torch": Torch}


class Worker:
    def __init__(self, library, weights, threads):
        self.library = LIBRARIES[library](weights, threads)
        faces, mels, _ = prepare.inputs()
        self.mel, self.face = prepare.tensors(faces, mels)
        self.runs, self.batches = {}, {}

    def calls(self, engine, batch):
        """All inputs in batches, in the engine's type."""
        key = engine.endswith("bf16") and engine.startswith("torch"), batch
        if key not in self.batches:
            self.batches[key] = [tuple(self.library.tensor(engine, array[i:i + batch]) for array in (self.mel, self.face))
                                 for i in range(0, prepare.COUNT, batch)]
        return self.batches[key]

    def open(self, engine, mode, batch):
        started = time.monotonic()
        run = self.runs[engine, mode, batch] = self.library.open(engine, mode, int(batch))
        run(self.calls(engine, int(batch))[:2])
        return "%.3f" % (time.monotonic() - started)

    def run(self, engine, mode, batch, count):
        calls, count = self.calls(engine, int(batch)), int(count)
        calls = (calls * (count // len(calls) + 1))[:count]
        wall, processor = time.monotonic(), processor_s()
        self.runs[engine, mode, batch](calls)
        return "%.6f %.6f %d" % (time.monotonic() - wall, processor_s() - processor, count * int(batch))

    def write(self, engine, path):
        # Copies: the library may give the same memory each time.
        made = [np.array(self.runs[engine, "shared", "1"]([call])) for call in self.calls(engine, 1)]
        np.concatenate(made).astype(np.float32).transpose(0, 2, 3, 1).tofile(path)
        return "ok"


def main():
    worker = Worker(sys.argv[1], sys.argv[2], int(sys.argv[3]))
    print("= " + worker.library.version, flush=True)
    for line in sys.stdin:
        command, engine, *rest = line.strip().split("\t")
        try:
            reply = getattr(worker, command)(engine, *rest)
        except Exception as error:  # of whatever kind: the comparison goes on without this engine
            reply = "SKIP " + " ".join(str(error).split())[:300]
        print("= " + reply, flush=True)


if __name__ == "__main__":
    main()
