// SPDX-License-Identifier: Apache-2.0
// YuNet-s (Wu, Peng, Yu: "YuNet: A Tiny Millisecond-level Face Detector", 2023), the better of the
// two detectors, as OpenCV Zoo's face_detection_yunet_2023mar.onnx has it. Constant data and pure
// functions; any thread.
#ifndef LS_YUNET_H
#define LS_YUNET_H

#include "net.h"

extern const struct ls_net_spec ls_yunet;

// The ONNX file's tensors under the table's names: the exporter numbered those of the depthwise
// convolutions. The caller closes *out.
LS_MUST int ls_yunet_rename(struct ls_weights **out, const struct ls_weights *weights,
                            struct ls_err *err);

#endif
