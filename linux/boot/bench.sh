# SPDX-License-Identifier: GPL-2.0 OR MIT
# The measurements, on an otherwise idle kernel.
insert ringfence
insert ringfence_bench "rounds=$RINGFENCE_ROUNDS"
remove ringfence_bench
remove ringfence
