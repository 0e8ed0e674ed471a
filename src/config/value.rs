//! A value of the file with its place, read as the type that its key wants. Pure.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeInteger, DeValue};

use super::fault::Wrong;
use super::keys::Kind;
use crate::error::Result;

/// One value.
#[derive(Clone, Debug)]
pub(super) struct Value<'a> {
    /// The whole file.
    source: &'a str,
    span: Range<usize>,
    inner: &'a DeValue<'a>,
    /// What it should be.
    kind: Kind,
}

impl<'a> Value<'a> {
    pub(super) fn new(source: &'a str, value: &'a Spanned<DeValue<'a>>, kind: Kind) -> Self {
        Value { source, span: value.span(), inner: value.get_ref(), kind }
    }

    /// Where it begins.
    pub(super) fn at(&self) -> usize {
        self.span.start
    }

    /// The error for a value of another type.
    pub(super) fn mismatch(&self) -> Wrong {
        let found = match self.inner {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "a whole number",
            DeValue::Float(_) => "a number with a fraction",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date or a time",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        Wrong::new(self.at(), format!("{} is wanted, not {found}", self.kind.wanted()))
    }

    /// A string.
    pub(super) fn text(&self) -> Result<&'a str, Wrong> {
        match self.inner {
            // No string is meant for anything but the system, which takes none with a NUL byte.
            DeValue::String(text) if text.contains('\0') => Err(Wrong::new(self.at(), "a NUL byte is in it")),
            DeValue::String(text) => Ok(text),
            _ => Err(self.mismatch()),
        }
    }

    /// A string that `parse` understands.
    pub(super) fn read<T>(&self, parse: impl FnOnce(&str) -> Result<T>) -> Result<T, Wrong> {
        self.text().and_then(|text| parse(text).map_err(Wrong::value(self.at())))
    }

    /// A whole number, handed to `parse` as decimal digits.
    pub(super) fn number<T>(&self, parse: impl FnOnce(&str) -> Result<T>) -> Result<T, Wrong> {
        let DeValue::Integer(number) = self.inner else { return Err(self.mismatch()) };
        parse(&decimal(number)).map_err(Wrong::value(self.at()))
    }

    /// A number or a string, handed to `parse` as it would stand on a command line.
    pub(super) fn amount<T>(&self, parse: impl FnOnce(&str) -> Result<T>) -> Result<T, Wrong> {
        match self.inner {
            DeValue::Integer(_) => self.number(parse),
            DeValue::Float(number) if self.kind == Kind::Duration => {
                parse(number.as_str()).map_err(Wrong::value(self.at()))
            }
            _ => self.read(parse),
        }
    }

    /// Octal digits in a string, or a number that is written as octal.
    pub(super) fn octal<T>(&self, parse: impl FnOnce(&str) -> Result<T>) -> Result<T, Wrong> {
        match self.inner {
            DeValue::Integer(number) if number.radix() == 8 => {
                parse(number.as_str()).map_err(Wrong::value(self.at()))
            }
            _ => self.read(parse),
        }
    }

    /// `true` or `false`.
    pub(super) fn flag(&self) -> Result<bool, Wrong> {
        self.inner.as_bool().ok_or_else(|| self.mismatch())
    }

    /// The elements of a list, each of them a value that should be an `element`.
    fn elements(&self, element: Kind) -> Result<Vec<Value<'a>>, Wrong> {
        let DeValue::Array(list) = self.inner else { return Err(self.mismatch()) };
        Ok(list.iter().map(|value| Value::new(self.source, value, element)).collect())
    }

    /// A list that is read element by element; everything wrong with any of them.
    pub(super) fn list<T>(
        &self,
        element: Kind,
        read: impl Fn(&Value<'a>) -> Result<T, Wrong>,
    ) -> Result<Vec<T>, Vec<Wrong>> {
        let mut good = Vec::new();
        self.list_into(&mut good, element, read).map(|()| good)
    }

    /// The same, with what is right added to `good` also where something is wrong.
    pub(super) fn list_into<T>(
        &self,
        good: &mut Vec<T>,
        element: Kind,
        read: impl Fn(&Value<'a>) -> Result<T, Wrong>,
    ) -> Result<(), Vec<Wrong>> {
        let mut bad = Vec::new();
        for value in self.elements(element)? {
            match read(&value) {
                Ok(element) => good.push(element),
                Err(wrong) => bad.push(wrong),
            }
        }
        if bad.is_empty() { Ok(()) } else { Err(bad) }
    }

    pub(super) fn is_list(&self) -> bool {
        matches!(self.inner, DeValue::Array(_))
    }

    /// The error for byte `offset` of its `text`. Behind an escape the place in the file is that of the whole value.
    pub(super) fn wrong_within(&self, text: &str, offset: usize, why: &str) -> Wrong {
        match self.source.get(self.span.clone()).and_then(|raw| raw.find(text)) {
            Some(begin) => Wrong::new(self.span.start + begin + offset, why),
            None => {
                let character = text[..offset].chars().count() + 1;
                Wrong::new(self.at(), format!("{why}, at character {character}"))
            }
        }
    }
}

/// A number in decimal digits, whatever it was written in. What is too large for any use stays as it stands.
fn decimal(number: &DeInteger<'_>) -> String {
    let digits = number.as_str();
    i128::from_str_radix(digits, number.radix()).map_or_else(|_| digits.to_owned(), |value| value.to_string())
}
