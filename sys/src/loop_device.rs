//! Loop devices: a file as a block device.

#![expect(unsafe_code, reason = "system calls that no library of ours offers")]

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

const LOOP_CTL_GET_FREE: libc::Ioctl = 0x4C82;
const LOOP_CONFIGURE: libc::Ioctl = 0x4C0A;
const AUTO_CLEAR: u32 = 4;

/// The kernel's `struct loop_info64`.
#[repr(C)]
struct Information {
    device: u64,
    inode: u64,
    represented_device: u64,
    offset: u64,
    size_limit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; 64],
    crypt_name: [u8; 64],
    encrypt_key: [u8; 32],
    init: [u64; 2],
}

/// The kernel's `struct loop_config`.
#[repr(C)]
struct Configuration {
    descriptor: u32,
    block_size: u32,
    information: Information,
    reserved: [u64; 8],
}

/// A loop device with a file behind it. The kernel frees it when the last user (this value or a
/// mount) is gone.
pub struct LoopDevice {
    path: PathBuf,
    _device: File,
}

impl LoopDevice {
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Finds a free device and puts `image` behind it. `name` is shown by tools that list loop
    /// devices.
    pub fn attach(image: &File, name: &Path) -> io::Result<LoopDevice> {
        let control = OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/loop-control")?;
        let mut last = io::Error::other("no free loop device");
        // Somebody else may take the free device between the question and the configuration.
        for _ in 0..64 {
            // SAFETY: this request takes no argument.
            let number = unsafe { libc::ioctl(control.as_raw_fd(), LOOP_CTL_GET_FREE) };
            if number < 0 {
                return Err(io::Error::last_os_error());
            }
            let path = PathBuf::from(format!("/dev/loop{number}"));
            let device = OpenOptions::new().read(true).write(true).open(&path)?;
            let mut file_name = [0u8; 64];
            let bytes = name.as_os_str().as_encoded_bytes();
            let length = bytes.len().min(63);
            file_name[..length].copy_from_slice(&bytes[..length]);
            let configuration = Configuration {
                descriptor: image.as_raw_fd() as u32,
                block_size: 0,
                information: Information {
                    device: 0,
                    inode: 0,
                    represented_device: 0,
                    offset: 0,
                    size_limit: 0,
                    number: 0,
                    encrypt_type: 0,
                    encrypt_key_size: 0,
                    flags: AUTO_CLEAR,
                    file_name,
                    crypt_name: [0; 64],
                    encrypt_key: [0; 32],
                    init: [0; 2],
                },
                reserved: [0; 8],
            };
            // SAFETY: the structure has the kernel's layout and outlives the call.
            let outcome = unsafe {
                libc::ioctl(
                    device.as_raw_fd(),
                    LOOP_CONFIGURE,
                    &configuration as *const Configuration,
                )
            };
            if outcome == 0 {
                return Ok(LoopDevice {
                    path,
                    _device: device,
                });
            }
            last = io::Error::last_os_error();
            if last.raw_os_error() != Some(libc::EBUSY) {
                return Err(last);
            }
        }
        Err(last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_structures_have_the_sizes_the_kernel_documents() {
        assert_eq!(size_of::<Information>(), 232);
        assert_eq!(size_of::<Configuration>(), 304);
    }
}
