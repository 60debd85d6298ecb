// SPDX-License-Identifier: GPL-2.0 OR MIT
//! `/dev/ringfence_mock`: each open file is a queue, each call a job.

use core::ptr::NonNull;

use kernel::bindings;
use kernel::ffi::c_int;
use kernel::fs::file::FileDescriptorReservation;
use kernel::fs::File;
use kernel::ioctl::_IOWR;
use kernel::miscdevice::{MiscDevice, MiscDeviceRegistration};
use kernel::prelude::*;
use kernel::sync::aref::ARef;
use kernel::sync::{global_lock, Arc};
use kernel::transmute::{AsBytes, FromBytes};
use kernel::uaccess::{UserPtr, UserSlice};

use ringfence::{Fence, Queue};

use crate::driver::{Command, MockDriver};
use crate::hardware::Fault;
use crate::Gpu;

global_lock! {
    // SAFETY: The module's init initialises it before anything else.
    pub(crate) unsafe(uninit) static GPU: Mutex<Option<Arc<Gpu>>> = None;
}

const HANG: u32 = 1;
const FAIL: u32 = 2;

/// `struct ringfence_mock_submit`.
#[repr(C)]
struct Submit {
    duration_ns: u64,
    in_fence_fd: i32,
    out_fence_fd: i32,
    flags: u32,
    pad: u32,
}

// SAFETY: Any bytes are one, and it has no padding.
unsafe impl FromBytes for Submit {}
// SAFETY: As above.
unsafe impl AsBytes for Submit {}

const SUBMIT: u32 = _IOWR::<Submit>('R' as u32, 0x80);

/// The beginning of `struct sync_file`, which is all we need.
#[repr(C)]
struct SyncFile {
    file: *mut bindings::file,
}

// A file points to a module, which has members without size; nobody passes one by value.
#[allow(improper_ctypes)]
extern "C" {
    fn sync_file_create(fence: *mut bindings::dma_fence) -> *mut SyncFile;
    fn sync_file_get_fence(fd: c_int) -> *mut bindings::dma_fence;
}

/// An open file.
pub(crate) struct Context {
    queue: Queue<MockDriver>,
}

#[vtable]
impl MiscDevice for Context {
    type Ptr = KBox<Self>;

    fn open(_file: &File, _misc: &MiscDeviceRegistration<Self>) -> Result<KBox<Self>> {
        let gpu = GPU.lock().clone().ok_or(ENODEV)?;
        Ok(KBox::new(
            Self {
                queue: gpu.context(c"file")?,
            },
            GFP_KERNEL,
        )?)
    }

    fn ioctl(this: &Self, _file: &File, cmd: u32, arg: usize) -> Result<isize> {
        if cmd != SUBMIT {
            return Err(ENOTTY);
        }
        let (mut reader, mut writer) =
            UserSlice::new(UserPtr::from_addr(arg), size_of::<Submit>()).reader_writer();
        let mut submit = reader.read::<Submit>()?;
        let (reserved, file) = this.submit(&mut submit)?;
        // What cannot be told has been submitted all the same; the descriptor is not installed
        // then.
        writer.write(&submit)?;
        reserved.fd_install(file);
        Ok(0)
    }
}

impl Context {
    /// Everything that can fail comes before the submit.
    fn submit(&self, submit: &mut Submit) -> Result<(FileDescriptorReservation, ARef<File>)> {
        if submit.flags & !(HANG | FAIL) != 0 || submit.pad != 0 {
            return Err(EINVAL);
        }
        let fault = match submit.flags {
            0 => Fault::None,
            FAIL => Fault::Fails,
            _ => Fault::Hang,
        };
        let command = Command::new(submit.duration_ns, fault);
        let mut job = self.queue.prepare(command, 1, GFP_KERNEL)?;
        if submit.in_fence_fd >= 0 {
            // SAFETY: Gives a count or a null pointer.
            let fence = unsafe { Fence::from_count(sync_file_get_fence(submit.in_fence_fd)) };
            job.depends_on(&*fence.ok_or(EINVAL)?, GFP_KERNEL)?;
        }
        let reserved = FileDescriptorReservation::get_unused_fd_flags(bindings::O_CLOEXEC)?;
        submit.out_fence_fd = reserved.reserved_fd() as i32;
        let fence = job.submit();
        Ok((reserved, sync_file(&fence)?))
    }
}

/// A file that signals with the fence.
fn sync_file(fence: &Fence) -> Result<ARef<File>> {
    // SAFETY: Takes a count of its own.
    let sync_file = NonNull::new(unsafe { sync_file_create(fence.as_raw()) }).ok_or(ENOMEM)?;
    // SAFETY: It has a file, whose one count is ours.
    unsafe {
        let file = NonNull::new((*sync_file.as_ptr()).file).ok_or(ENOMEM)?;
        Ok(ARef::from_raw(file.cast()))
    }
}
