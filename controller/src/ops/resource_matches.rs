//! Which files of an app we have already.

use super::{Ops, Refusal, upload::SMALLEST_RESOURCE};
use proto::api::Resource;

/// The key of a file, if the text is a SHA-1.
pub fn key(sha1: &str) -> Option<String> {
    (sha1.len() == 40 && sha1.bytes().all(|byte| byte.is_ascii_hexdigit()))
        .then(|| format!("resources/{}", sha1.to_lowercase()))
}

impl Ops {
    /// The subset of `resources` that need not be sent. Knowing a checksum is having had the file, so anybody
    /// logged in may ask.
    pub async fn match_resources(
        &self,
        resources: Vec<Resource>,
    ) -> Result<Vec<Resource>, Refusal> {
        const MOST: usize = 5000;
        if resources.len() > MOST {
            return Refusal::unprocessable(format!(
                "Array is too long: at most {MOST} resources can be matched at once"
            ));
        }
        let mut matched = Vec::new();
        for resource in resources {
            if resource.size_in_bytes < SMALLEST_RESOURCE {
                continue;
            }
            let Some(key) = key(&resource.checksum.value) else {
                continue;
            };
            if self.blobs.size(&key).await? == Some(resource.size_in_bytes) {
                matched.push(resource);
            }
        }
        Ok(matched)
    }
}
