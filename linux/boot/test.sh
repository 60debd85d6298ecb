# SPDX-License-Identifier: GPL-2.0 OR MIT
# KUnit runs a module's suites when it is loaded.
insert ringfence
insert ringfence_kunit
remove ringfence_kunit
remove ringfence
