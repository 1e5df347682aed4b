//! A record as it stands in its line: the parts that every reader needs are parsed, the rest stays text.

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// A record that borrows from its line of JSON. What the output's fields hold is checked to be JSON but not read.
#[derive(Clone, Debug)]
pub struct RawRecord<'a> {
    /// The whole line, without its line break.
    pub line: &'a str,
    pub id: Cow<'a, str>,
    pub job_id: Cow<'a, str>,
    pub index: u64,
    /// RFC 3339.
    pub created_at: Cow<'a, str>,
    pub seed_data_id: Cow<'a, str>,
    /// The output's fields, in the line's order.
    pub output: Vec<(Cow<'a, str>, &'a RawValue)>,
    pub meta: &'a RawValue,
}

impl<'a> RawRecord<'a> {
    /// Reads one line.
    ///
    /// # Errors
    /// When the line isn't one JSON object with each field that every record has, once.
    pub fn parse(line: &'a str) -> Result<Self, serde_json::Error> {
        let mut record: RawRecord<'a> = serde_json::from_str(line)?;
        record.line = line;
        Ok(record)
    }

    /// The output field of that name.
    pub fn field(&self, name: &str) -> Option<&'a RawValue> {
        self.output.iter().find(|(key, _)| key == name).map(|(_, value)| *value)
    }
}

/// A string that is borrowed where it has no escapes (serde's own impl for `Cow` always copies).
pub(crate) struct Text<'a>(pub(crate) Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;
        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(TextVisitor)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for RawRecord<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct RecordVisitor;
        impl<'de> Visitor<'de> for RecordVisitor {
            type Value = RawRecord<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a record (a JSON object)")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<RawRecord<'de>, A::Error> {
                read_record(map)
            }
        }
        deserializer.deserialize_map(RecordVisitor)
    }
}

fn read_record<'de, A: MapAccess<'de>>(mut map: A) -> Result<RawRecord<'de>, A::Error> {
    let (mut id, mut job_id, mut created_at, mut seed_data_id) = (None, None, None, None);
    let (mut index, mut meta) = (None, None);
    let mut output = Vec::new();
    while let Some(Text(key)) = map.next_key()? {
        match &*key {
            "id" => set(&mut id, "id", map.next_value::<Text<'de>>()?.0)?,
            "job_id" => set(&mut job_id, "job_id", map.next_value::<Text<'de>>()?.0)?,
            "index" => set(&mut index, "index", map.next_value::<u64>()?)?,
            "created_at" => set(&mut created_at, "created_at", map.next_value::<Text<'de>>()?.0)?,
            "seed_data_id" => set(&mut seed_data_id, "seed_data_id", map.next_value::<Text<'de>>()?.0)?,
            "meta" => set(&mut meta, "meta", map.next_value::<&'de RawValue>()?)?,
            _ => output.push((key, map.next_value::<&'de RawValue>()?)),
        }
    }
    Ok(RawRecord {
        line: "",
        id: id.ok_or_else(|| de::Error::missing_field("id"))?,
        job_id: job_id.ok_or_else(|| de::Error::missing_field("job_id"))?,
        index: index.ok_or_else(|| de::Error::missing_field("index"))?,
        created_at: created_at.ok_or_else(|| de::Error::missing_field("created_at"))?,
        seed_data_id: seed_data_id.ok_or_else(|| de::Error::missing_field("seed_data_id"))?,
        output,
        meta: meta.ok_or_else(|| de::Error::missing_field("meta"))?,
    })
}

fn set<T, E: de::Error>(slot: &mut Option<T>, name: &'static str, value: T) -> Result<(), E> {
    if slot.replace(value).is_some() { Err(E::duplicate_field(name)) } else { Ok(()) }
}
