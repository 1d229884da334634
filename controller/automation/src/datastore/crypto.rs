//! Encryption of secret values, in the layout that StackStorm took over from keyczar.
//!
//! ```text
//! upper-case hex of:  header (5 bytes, unused) | IV (16) | AES-CBC, PKCS#7 padded | HMAC-SHA1 (20) of all before
//! ```
//!
//! Packs and operators move such values between installations (`encrypted: true`), so neither the
//! layout nor the key file may differ. What a newcomer gets wrong: the HMAC is checked first, in
//! constant time, and over the header too; a value with a wrong HMAC is never decrypted.

use aes::cipher::block_padding::Pkcs7;
use aes::cipher::{BlockDecryptMut, BlockEncryptMut, KeyIvInit};
use aes::{Aes128, Aes192, Aes256};
use base64::Engine;
use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};
use hmac::{Hmac, Mac};
use serde::{Deserialize, Serialize};
use sha1::Sha1;
use thiserror::Error;

/// What upstream writes before the IV. Readers skip it.
const HEADER: &[u8; 5] = b"00000";
const IV_LENGTH: usize = 16;
const SIGNATURE_LENGTH: usize = 20;

/// Why a key or a value cannot be used. Never says anything about their content.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CryptoError {
    /// The key file is not JSON of the expected shape.
    #[error("the crypto key is malformed: {0}")]
    KeyFile(String),
    /// Only CBC exists.
    #[error("the crypto key has the unsupported mode {0}")]
    Mode(String),
    /// AES knows 128, 192 and 256 bits.
    #[error("the crypto key has {actual} bits, but says {size}; AES keys have 128, 192 or 256")]
    KeySize {
        /// What the file says.
        size: usize,
        /// What is there.
        actual: usize,
    },
    /// The value is not hex of sufficient length.
    #[error("Invalid or malformed ciphertext")]
    Ciphertext,
    /// Another key, or a changed value.
    #[error("the value was encrypted with another key, or was changed since")]
    Signature,
    /// Decrypted, but no text.
    #[error("the decrypted value is not text")]
    NotText,
}

/// A symmetric key: one half encrypts, the other signs.
#[derive(Clone, PartialEq, Eq)]
pub struct SymmetricKey {
    aes: Vec<u8>,
    hmac: Vec<u8>,
}

impl std::fmt::Debug for SymmetricKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "SymmetricKey({} bits)", self.aes.len() * 8)
    }
}

/// The key file.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct KeyFile {
    hmac_key: HmacKeyFile,
    aes_key_string: String,
    mode: String,
    size: usize,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct HmacKeyFile {
    hmac_key_string: String,
    size: usize,
}

impl SymmetricKey {
    /// A new key of 256 bits from 64 random bytes.
    pub fn generate(random: &[u8; 64]) -> SymmetricKey {
        SymmetricKey {
            aes: random[..32].to_vec(),
            hmac: random[32..].to_vec(),
        }
    }

    /// Reads a key file.
    pub fn from_json(text: &str) -> Result<SymmetricKey, CryptoError> {
        let file: KeyFile =
            serde_json::from_str(text).map_err(|error| CryptoError::KeyFile(error.to_string()))?;
        if !file.mode.eq_ignore_ascii_case("CBC") {
            return Err(CryptoError::Mode(file.mode));
        }
        let aes = decoded("aesKeyString", &file.aes_key_string)?;
        let hmac = decoded("hmacKeyString", &file.hmac_key.hmac_key_string)?;
        if !matches!(aes.len(), 16 | 24 | 32) || file.size != aes.len() * 8 {
            return Err(CryptoError::KeySize {
                size: file.size,
                actual: aes.len() * 8,
            });
        }
        if hmac.is_empty() || file.hmac_key.size != hmac.len() * 8 {
            return Err(CryptoError::KeyFile(
                "hmacKeyString does not have the size it says".to_owned(),
            ));
        }
        Ok(SymmetricKey { aes, hmac })
    }

    /// Writes a key file.
    pub fn to_json(&self) -> String {
        let file = KeyFile {
            hmac_key: HmacKeyFile {
                hmac_key_string: URL_SAFE_NO_PAD.encode(&self.hmac),
                size: self.hmac.len() * 8,
            },
            aes_key_string: URL_SAFE_NO_PAD.encode(&self.aes),
            mode: "CBC".to_owned(),
            size: self.aes.len() * 8,
        };
        serde_json::to_string(&file).expect("strings and numbers are JSON")
    }

    /// Stands for a text where the text itself may not be seen: the same for the same text, and nothing
    /// to whoever has not the key.
    pub fn mark(&self, text: &str) -> String {
        let mut signer = self.signer();
        signer.update(b"mark:");
        signer.update(text.as_bytes());
        URL_SAFE_NO_PAD.encode(signer.finalize().into_bytes())
    }

    fn signer(&self) -> Hmac<Sha1> {
        Hmac::<Sha1>::new_from_slice(&self.hmac).expect("HMAC takes keys of any length")
    }

    fn encrypted(&self, iv: &[u8; IV_LENGTH], plain: &[u8]) -> Vec<u8> {
        macro_rules! with {
            ($cipher:ty) => {
                cbc::Encryptor::<$cipher>::new_from_slices(&self.aes, iv)
                    .expect("the length of the key was matched")
                    .encrypt_padded_vec_mut::<Pkcs7>(plain)
            };
        }
        match self.aes.len() {
            16 => with!(Aes128),
            24 => with!(Aes192),
            _ => with!(Aes256),
        }
    }

    fn decrypted(&self, iv: &[u8], cipher: &[u8]) -> Option<Vec<u8>> {
        macro_rules! with {
            ($cipher:ty) => {
                cbc::Decryptor::<$cipher>::new_from_slices(&self.aes, iv)
                    .expect("the lengths of key and IV were matched")
                    .decrypt_padded_vec_mut::<Pkcs7>(cipher)
                    .ok()
            };
        }
        match self.aes.len() {
            16 => with!(Aes128),
            24 => with!(Aes192),
            _ => with!(Aes256),
        }
    }
}

fn decoded(field: &str, text: &str) -> Result<Vec<u8>, CryptoError> {
    URL_SAFE_NO_PAD
        .decode(text)
        .or_else(|_| URL_SAFE.decode(text))
        .map_err(|error| CryptoError::KeyFile(format!("{field}: {error}")))
}

/// Encrypts a text. The IV must be random and never used twice with the same key.
pub fn encrypt(key: &SymmetricKey, iv: &[u8; IV_LENGTH], plain: &str) -> String {
    let mut message = HEADER.to_vec();
    message.extend_from_slice(iv);
    message.extend(key.encrypted(iv, plain.as_bytes()));
    let mut signer = key.signer();
    signer.update(&message);
    message.extend(signer.finalize().into_bytes());
    message.iter().map(|byte| format!("{byte:02X}")).collect()
}

/// Decrypts what [`encrypt`] or StackStorm encrypted with the same key.
pub fn decrypt(key: &SymmetricKey, cipher: &str) -> Result<String, CryptoError> {
    let bytes = bytes_of_hex(cipher.trim()).ok_or(CryptoError::Ciphertext)?;
    let body = HEADER.len() + IV_LENGTH;
    if bytes.len() < body + SIGNATURE_LENGTH {
        return Err(CryptoError::Ciphertext);
    }
    let (message, signature) = bytes.split_at(bytes.len() - SIGNATURE_LENGTH);
    let mut signer = key.signer();
    signer.update(message);
    signer
        .verify_slice(signature)
        .map_err(|_| CryptoError::Signature)?;
    let plain = key
        .decrypted(&message[HEADER.len()..body], &message[body..])
        .ok_or(CryptoError::Ciphertext)?;
    String::from_utf8(plain).map_err(|_| CryptoError::NotText)
}

fn bytes_of_hex(text: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs
        .iter()
        .map(|pair| {
            let digit = |byte: u8| char::from(byte).to_digit(16);
            u8::try_from(digit(pair[0])? * 16 + digit(pair[1])?).ok()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// 64 counted bytes; the answers below were computed with an independent implementation.
    fn key() -> SymmetricKey {
        SymmetricKey::generate(&std::array::from_fn(|index| index as u8))
    }

    fn iv() -> [u8; IV_LENGTH] {
        std::array::from_fn(|index| index as u8 + 100)
    }

    const KEY_FILE: &str = r#"{"hmacKey": {"hmacKeyString": "ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8", "size": 256}, "aesKeyString": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8", "mode": "CBC", "size": 256}"#;
    const SECRET: &str = "30303030306465666768696A6B6C6D6E6F7071727364FF878FCBD8CA8528F4B5CD602A0716F60344FA92D0640999802B09679F1A8F66043C61";

    #[test]
    fn a_mark_stands_for_its_text_and_depends_on_the_key() {
        let other = SymmetricKey::generate(&[7; 64]);
        assert_eq!(key().mark("host"), key().mark("host"));
        assert_ne!(key().mark("host"), key().mark("hos"));
        assert_ne!(key().mark("host"), other.mark("host"));
    }

    #[test]
    fn known_answers() {
        for (plain, cipher) in [
            ("secret", SECRET),
            (
                "",
                "30303030306465666768696A6B6C6D6E6F70717273F795F6E8802FD151A021A41150D4AB6904D4BCA31B36EB0BAE2E6A5C90BA2638137CD171",
            ),
            (
                "exactly sixteen.",
                "30303030306465666768696A6B6C6D6E6F70717273721C05A2783099766137A50CBFC4634418AF2500BD95C1E7B4F1748C5B8F91B1FCC3F11DDBD8723A4A930F081F21BE7F70A64EFF",
            ),
            (
                "hello \u{1f4a9} č",
                "30303030306465666768696A6B6C6D6E6F7071727380D9DADA1844E611A337517008C767E16F504A4FCD03777DCB4C0FE4023CEE1FCA862BF0",
            ),
        ] {
            assert_eq!(encrypt(&key(), &iv(), plain), cipher);
            assert_eq!(decrypt(&key(), cipher).as_deref(), Ok(plain));
            assert_eq!(
                decrypt(&key(), &cipher.to_lowercase()).as_deref(),
                Ok(plain)
            );
        }
    }

    #[test]
    fn shorter_keys_are_read_too() {
        let file = r#"{"hmacKey": {"hmacKeyString": "ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8=", "size": 256}, "aesKeyString": "AAECAwQFBgcICQoLDA0ODw", "mode": "cbc", "size": 128}"#;
        let key = SymmetricKey::from_json(file).expect("a key of 128 bits");
        assert_eq!(
            decrypt(&key, "30303030306465666768696A6B6C6D6E6F70717273F89D41753A6E6B00C491A770B20A5210BD7DBCF4976072163FE3CBA8246F8823FC148136").as_deref(),
            Ok("secret")
        );
    }

    #[test]
    fn a_key_file_reads_back() {
        let key = SymmetricKey::from_json(KEY_FILE).expect("a key");
        assert_eq!(key, self::key());
        let written: serde_json::Value =
            serde_json::from_str(&key.to_json()).expect("the written key");
        let expected: serde_json::Value = serde_json::from_str(KEY_FILE).expect("the key file");
        assert_eq!(written, expected);
        assert_eq!(format!("{key:?}"), "SymmetricKey(256 bits)");
    }

    #[test]
    fn bad_key_files_are_told_apart() {
        let with = |from: &str, to: &str| SymmetricKey::from_json(&KEY_FILE.replace(from, to));
        assert_eq!(with("CBC", "ECB"), Err(CryptoError::Mode("ECB".to_owned())));
        assert_eq!(
            with("\"CBC\", \"size\": 256", "\"CBC\", \"size\": 128"),
            Err(CryptoError::KeySize {
                size: 128,
                actual: 256
            })
        );
        assert!(matches!(
            with("AAECAw", "!!!!!!"),
            Err(CryptoError::KeyFile(_))
        ));
        assert!(matches!(
            with("aesKeyString", "key"),
            Err(CryptoError::KeyFile(_))
        ));
        assert!(matches!(
            with("Pj8\", \"size\": 256", "Pj8\", \"size\": 64"),
            Err(CryptoError::KeyFile(_))
        ));
    }

    #[test]
    fn changed_values_and_other_keys_are_found_out() {
        let other = SymmetricKey::generate(&[7; 64]);
        assert_eq!(decrypt(&other, SECRET), Err(CryptoError::Signature));
        // The header is skipped when reading, but it is signed.
        assert_eq!(
            decrypt(&key(), &SECRET.replacen("30", "31", 1)),
            Err(CryptoError::Signature)
        );
        assert_eq!(decrypt(&key(), &SECRET[..60]), Err(CryptoError::Ciphertext));
        assert_eq!(decrypt(&key(), &SECRET[1..]), Err(CryptoError::Ciphertext));
        assert_eq!(decrypt(&key(), "not hex"), Err(CryptoError::Ciphertext));
        assert_eq!(decrypt(&key(), ""), Err(CryptoError::Ciphertext));
    }

    proptest! {
        #[test]
        fn what_is_encrypted_decrypts(random in prop::array::uniform32(0u8..), iv in prop::array::uniform16(0u8..), plain in ".{0,80}") {
            let mut bytes = [0; 64];
            bytes[..32].copy_from_slice(&random);
            bytes[32..].copy_from_slice(&random);
            let key = SymmetricKey::generate(&bytes);
            let cipher = encrypt(&key, &iv, &plain);
            prop_assert!(cipher.bytes().all(|byte| byte.is_ascii_digit() || (b'A'..=b'F').contains(&byte)));
            prop_assert_eq!(decrypt(&key, &cipher), Ok(plain));
        }

        #[test]
        fn no_single_changed_digit_is_accepted(at in 0..SECRET.len(), digit in 0..16u32) {
            let mut changed: Vec<char> = SECRET.chars().collect();
            changed[at] = char::from_digit(digit, 16).expect("a digit").to_ascii_uppercase();
            let changed: String = changed.into_iter().collect();
            prop_assume!(changed != SECRET);
            prop_assert_eq!(decrypt(&key(), &changed), Err(CryptoError::Signature));
        }
    }
}
