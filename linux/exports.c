// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * The Rust symbols of core and host, for drivers in modules of their own. The
 * compiler checks what is passed; mangled names change with what they mean.
 */
#include <linux/export.h>

#define RINGFENCE_EXPORT(symbol) extern int symbol; EXPORT_SYMBOL_GPL(symbol)

#include "exports_generated.h"
