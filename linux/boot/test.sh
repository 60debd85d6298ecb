# SPDX-License-Identifier: GPL-2.0 OR MIT
# KUnit runs a module's suites when it is loaded.
insert ringfence
insert ringfence_kunit "plant=${RINGFENCE_PLANT:-0}"
remove ringfence_kunit
remove ringfence
