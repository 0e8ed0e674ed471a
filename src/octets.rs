//! Bytes in a document that is text: paths, arguments and the environment are bytes to the system, and mostly readable.
//! Pure.
//!
//! What is UTF-8 is written as a string, anything else as a list of numbers. A field is marked with
//! `#[serde(with = "crate::octets")]`; an option, a list or a pair of such values may be marked the same way.

use std::ffi::{CString, OsString};
use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Writes a field.
pub fn serialize<T: Octets, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    value.write(serializer)
}

/// Reads a field.
pub fn deserialize<'de, T: Octets, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    T::read(deserializer)
}

/// What is bytes, or made of such.
pub trait Octets: Sized {
    /// Writes it.
    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error>;
    /// Reads it.
    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error>;
}

/// One of them, for the containers of serde.
struct Element<T>(T);

impl<T: Octets> Serialize for Element<&T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.write(serializer)
    }
}

impl<'de, T: Octets> Deserialize<'de> for Element<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::read(deserializer).map(Element)
    }
}

impl Octets for Vec<u8> {
    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match str::from_utf8(self) {
            Ok(text) => serializer.serialize_str(text),
            Err(_) => serializer.collect_seq(self),
        }
    }

    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Either)
    }
}

/// A string or a list of numbers.
struct Either;

impl<'de> Visitor<'de> for Either {
    type Value = Vec<u8>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string or a list of bytes")
    }

    fn visit_str<E>(self, text: &str) -> Result<Vec<u8>, E> {
        Ok(text.as_bytes().to_vec())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<u8>, A::Error> {
        let mut bytes = Vec::new();
        while let Some(byte) = list.next_element()? {
            bytes.push(byte);
        }
        Ok(bytes)
    }
}

impl Octets for OsString {
    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.as_bytes().to_vec().write(serializer)
    }

    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::read(deserializer).map(OsString::from_vec)
    }
}

impl Octets for PathBuf {
    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.as_os_str().as_bytes().to_vec().write(serializer)
    }

    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        OsString::read(deserializer).map(PathBuf::from)
    }
}

impl Octets for CString {
    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.as_bytes().to_vec().write(serializer)
    }

    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        CString::new(Vec::read(deserializer)?).map_err(|_| D::Error::custom("a NUL byte within a string"))
    }
}

impl<T: Octets> Octets for Option<T> {
    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.as_ref().map(Element).serialize(serializer)
    }

    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Option::<Element<T>>::deserialize(deserializer)?.map(|element| element.0))
    }
}

impl<T: Octets> Octets for Vec<T> {
    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter().map(Element))
    }

    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Vec::<Element<T>>::deserialize(deserializer)?.into_iter().map(|element| element.0).collect())
    }
}

impl<A: Octets, B: Octets> Octets for (A, B) {
    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (Element(&self.0), Element(&self.1)).serialize(serializer)
    }

    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (first, second) = <(Element<A>, Element<B>)>::deserialize(deserializer)?;
        Ok((first.0, second.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Everything {
        #[serde(with = "crate::octets")]
        path: PathBuf,
        #[serde(default, with = "crate::octets")]
        none: Option<OsString>,
        #[serde(with = "crate::octets")]
        arguments: Vec<CString>,
        #[serde(with = "crate::octets")]
        environment: Vec<(OsString, OsString)>,
        #[serde(with = "crate::octets")]
        bytes: Vec<u8>,
    }

    #[test]
    fn text_stays_readable_and_nothing_is_lost() {
        let everything = Everything {
            path: "/srv/ä".into(),
            none: None,
            arguments: vec![c"a b".into(), c"\xff".into()],
            environment: vec![("LANG".into(), OsString::from_vec(vec![0x80, b'x']))],
            bytes: b"\0\n".to_vec(),
        };
        let text = serde_json::to_string(&everything).unwrap();
        assert_eq!(
            text,
            r#"{"path":"/srv/ä","none":null,"arguments":["a b",[255]],"environment":[["LANG",[128,120]]],"bytes":"\u0000\n"}"#
        );
        assert_eq!(serde_json::from_str::<Everything>(&text).unwrap(), everything);
        let shorter = text.replace(r#""none":null,"#, "");
        assert_eq!(serde_json::from_str::<Everything>(&shorter).unwrap(), everything);
    }

    #[test]
    fn what_is_no_bytes_is_refused() {
        for wrong in ["7", "[256]", "[-1]", "{}", "null", r#"["a"]"#] {
            let mut reader = serde_json::Deserializer::from_str(wrong);
            assert!(deserialize::<Vec<u8>, _>(&mut reader).is_err(), "{wrong}");
        }
        let mut reader = serde_json::Deserializer::from_str(r#""a\u0000b""#);
        assert!(deserialize::<CString, _>(&mut reader).is_err());
    }
}
