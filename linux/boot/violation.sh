# SPDX-License-Identifier: GPL-2.0 OR MIT
# Breaks one rule.
insert ringfence_violation "kind=$RINGFENCE_KIND"
