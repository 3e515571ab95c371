//! How a single value is read: with its place, and so that a bad one doesn't hide the others.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use toml_spanner::{Context, Failed, FromToml, Item, Span};

use crate::config::limits::MAX_INTERFACE_GLOB_BYTES;

/// A value and its place in the file.
#[derive(Debug, Clone)]
pub(crate) struct At<T> {
    pub value: T,
    pub span: Span,
}

/// The value of a key. Reading one never fails: what is wrong is recorded, and the rest of the table is read
/// on.
#[derive(Debug, Default)]
pub(crate) enum Field<T> {
    /// The key isn't there.
    #[default]
    Absent,
    /// The key is there and its value was reported as wrong.
    Bad,
    /// The key has a value of the right type.
    Given(At<T>),
}

/// The readable elements of an array.
#[derive(Debug)]
pub(crate) struct List<T> {
    pub items: Vec<At<T>>,
    /// Whether an element was reported as wrong and is missing here.
    pub incomplete: bool,
}

/// A port or a range of ports, as written.
#[derive(Debug)]
pub(crate) enum Port {
    Number(i64),
    Range(String),
}

/// A user or group, as written.
#[derive(Debug)]
pub(crate) enum Id {
    Number(i64),
    Text(String),
}

/// A number with or without a fraction, as written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Factor(pub f64);

/// The interfaces, as written.
#[derive(Debug)]
pub(crate) enum Interfaces {
    Word(String),
    Names(List<String>),
}

/// What is taken out of command lines, as written.
#[derive(Debug)]
pub(crate) enum Redact {
    Word(String),
    Patterns(List<String>),
}

impl<T> Field<T> {
    pub fn given(&self) -> Option<&At<T>> {
        match self {
            Self::Given(at) => Some(at),
            Self::Absent | Self::Bad => None,
        }
    }

    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }
}

impl<T: Copy> Field<T> {
    /// The value, or `default` if there is none to use.
    pub fn or(&self, default: T) -> T {
        self.given().map_or(default, |at| at.value)
    }
}

impl<T> Field<List<T>> {
    /// The readable elements; none if the key is absent.
    pub fn items(&self) -> &[At<T>] {
        self.given().map_or(&[], |at| &at.value.items)
    }
}

impl<'de, T: FromToml<'de>> FromToml<'de> for At<T> {
    fn from_toml(ctx: &mut Context<'de>, item: &Item<'de>) -> Result<Self, Failed> {
        Ok(Self { value: T::from_toml(ctx, item)?, span: item.span() })
    }
}

impl<'de, T: FromToml<'de>> FromToml<'de> for Field<T> {
    fn from_toml(ctx: &mut Context<'de>, item: &Item<'de>) -> Result<Self, Failed> {
        Ok(At::from_toml(ctx, item).map_or(Self::Bad, Self::Given))
    }
}

impl<'de, T: FromToml<'de>> FromToml<'de> for List<T> {
    fn from_toml(ctx: &mut Context<'de>, item: &Item<'de>) -> Result<Self, Failed> {
        let array = item.require_array(ctx)?;
        let items: Vec<_> = array.iter().filter_map(|item| At::from_toml(ctx, item).ok()).collect();
        let incomplete = items.len() < array.len();
        Ok(Self { items, incomplete })
    }
}

impl<'de> FromToml<'de> for Port {
    fn from_toml(ctx: &mut Context<'de>, item: &Item<'de>) -> Result<Self, Failed> {
        if let Some(number) = item.as_i64() {
            return Ok(Self::Number(number));
        }
        match item.as_str() {
            Some(range) => Ok(Self::Range(range.to_owned())),
            None => Err(ctx.report_expected_but_found(&"a port number or a range", item)),
        }
    }
}

impl<'de> FromToml<'de> for Id {
    fn from_toml(ctx: &mut Context<'de>, item: &Item<'de>) -> Result<Self, Failed> {
        if let Some(number) = item.as_i64() {
            return Ok(Self::Number(number));
        }
        match item.as_str() {
            Some(text) => Ok(Self::Text(text.to_owned())),
            None => Err(ctx.report_expected_but_found(&"a name or a number", item)),
        }
    }
}

impl<'de> FromToml<'de> for Factor {
    fn from_toml(ctx: &mut Context<'de>, item: &Item<'de>) -> Result<Self, Failed> {
        match item.as_f64() {
            Some(number) => Ok(Self(number)),
            None => Err(ctx.report_expected_but_found(&"a number", item)),
        }
    }
}

impl<'de> FromToml<'de> for Interfaces {
    fn from_toml(ctx: &mut Context<'de>, item: &Item<'de>) -> Result<Self, Failed> {
        if let Some(word) = item.as_str() {
            return Ok(Self::Word(word.to_owned()));
        }
        if item.as_array().is_none() {
            return Err(ctx.report_expected_but_found(&"\"auto\" or a list of names", item));
        }
        List::from_toml(ctx, item).map(Self::Names)
    }
}

impl<'de> FromToml<'de> for Redact {
    fn from_toml(ctx: &mut Context<'de>, item: &Item<'de>) -> Result<Self, Failed> {
        if let Some(word) = item.as_str() {
            return Ok(Self::Word(word.to_owned()));
        }
        if item.as_array().is_none() {
            return Err(ctx.report_expected_but_found(&"\"off\" or a list of regular expressions", item));
        }
        List::from_toml(ctx, item).map(Self::Patterns)
    }
}

/// Delegates the schema of a wrapper to that of what it wraps.
macro_rules! schema_of {
    ($wrapper:ident => $inner:ty) => {
        impl<T: JsonSchema> JsonSchema for $wrapper<T> {
            fn inline_schema() -> bool {
                <$inner>::inline_schema()
            }

            fn schema_name() -> Cow<'static, str> {
                <$inner>::schema_name()
            }

            fn schema_id() -> Cow<'static, str> {
                <$inner>::schema_id()
            }

            fn json_schema(generator: &mut SchemaGenerator) -> Schema {
                <$inner>::json_schema(generator)
            }
        }
    };
}

schema_of!(At => T);
schema_of!(Field => T);
schema_of!(List => Vec<T>);

impl JsonSchema for Port {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Port".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"oneOf": [
            {"type": "integer", "minimum": 1, "maximum": 65535},
            {"type": "string", "pattern": r"^[0-9]{1,5}-[0-9]{1,5}$"},
        ]})
    }
}

impl JsonSchema for Id {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Id".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"oneOf": [
            {"type": "integer", "minimum": 0, "maximum": u32::MAX - 1},
            {"type": "string", "minLength": 1},
        ]})
    }
}

impl JsonSchema for Factor {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Factor".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "number", "minimum": 1, "maximum": 10})
    }
}

impl JsonSchema for Interfaces {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Interfaces".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"oneOf": [
            {"const": "auto"},
            {"type": "array", "items": {"type": "string", "minLength": 1, "maxLength": MAX_INTERFACE_GLOB_BYTES}},
        ]})
    }
}

impl JsonSchema for Redact {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Redact".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"oneOf": [
            {"const": "off"},
            {"type": "array", "items": {"type": "string", "minLength": 1}},
        ]})
    }
}
