// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Breaks one of the kernel's rules on purpose, to see whether the checker of
 * that rule is awake. Loading it fails where it does not know the rule.
 */

#include <linux/dma-fence.h>
#include <linux/init.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/string.h>

static char *kind = "";
module_param(kind, charp, 0444);
MODULE_PARM_DESC(kind, "mutex-under-spinlock, allocation-while-signalling or use-after-free");

static DEFINE_SPINLOCK(violation_spinlock);
static DEFINE_MUTEX(violation_mutex);

/* For DEBUG_ATOMIC_SLEEP. */
static int mutex_under_spinlock(void)
{
	spin_lock(&violation_spinlock);
	mutex_lock(&violation_mutex);
	mutex_unlock(&violation_mutex);
	spin_unlock(&violation_spinlock);
	return 0;
}

/* For lockdep: reclaim waits for fences, and this fence waits for reclaim. */
static int allocation_while_signalling(void)
{
	bool cookie = dma_fence_begin_signalling();
	void *memory = kmalloc(64, GFP_KERNEL);

	dma_fence_end_signalling(cookie);
	kfree(memory);
	return 0;
}

/* For KASAN. */
static int use_after_free(void)
{
	u8 *memory = kmalloc(64, GFP_KERNEL);

	if (!memory)
		return -ENOMEM;
	OPTIMIZER_HIDE_VAR(memory);
	kfree(memory);
	return READ_ONCE(memory[8]) ? 0 : 0;
}

static int __init violation_init(void)
{
	if (!strcmp(kind, "mutex-under-spinlock"))
		return mutex_under_spinlock();
	if (!strcmp(kind, "allocation-while-signalling"))
		return allocation_while_signalling();
	if (!strcmp(kind, "use-after-free"))
		return use_after_free();
	return -EINVAL;
}
module_init(violation_init);

static void __exit violation_exit(void)
{
}
module_exit(violation_exit);

MODULE_DESCRIPTION("Breaks the kernel's rules on purpose");
MODULE_AUTHOR("The Ringfence authors");
MODULE_LICENSE("Dual MIT/GPL");
