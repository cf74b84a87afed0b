# SPDX-License-Identifier: Apache-2.0
"""`python3 export.py FOLDER OUT.safetensors`: the generator's running mean in half precision, with the metadata that
the server reads. Says how much is lost by half precision."""
import os
import sys

import torch
from safetensors.torch import save_file

from network import Wav2Lip, widths

META = {
    "format": "pt",
    "name": "lipstream-demo-3",
    "licence": "CC BY 4.0",
    "attribution": "Trained on the GRID audiovisual sentence corpus (M. Cooke, J. Barker, S. Cunningham, X. Shao, "
                   "JASA 120(5), 2006; CC BY 4.0) and on voices of LibriSpeech (CC BY 4.0)",
    "topology": "Wav2Lip-96, reduced widths",
    "paste_mask": "MOUTH",
    "input_levels": "face",
}


def output(state, mel, face):
    net = Wav2Lip(widths(state))
    net.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in state.items()})
    with torch.no_grad():
        return net.eval()(mel, face)


def main(folder, out):
    kept = torch.load(os.path.join(folder, "generator.pt"), weights_only=False, map_location="cpu")
    full = {k: v.contiguous() for k, v in kept["mean"].items()}
    half = {k: (v.half() if v.is_floating_point() else v).clone() for k, v in full.items()}
    save_file(half, out, metadata={**META, "samples": str(kept["samples"])})
    mel, face = torch.randn(4, 1, 80, 16), torch.rand(4, 6, 96, 96)
    lost = (output(full, mel, face) - output(half, mel, face)).abs().max() * 255
    print("%s: %d parameters, %d bytes, %d samples; half precision changes at most %.2f of 255" % (
        out, sum(v.numel() for v in Wav2Lip(widths(full)).parameters()), os.path.getsize(out), kept["samples"], lost))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
