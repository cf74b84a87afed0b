# SPDX-License-Identifier: Apache-2.0
# soak.py for half an hour. The picture is drawn by bench/load_plot.py from soak.csv in the build folder.
import os

import soak

soak.run(os.environ.get("LS_SOAK_SECONDS", "1800"), "150")
