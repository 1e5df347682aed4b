//! Writes the invented seed files of `examples/seed/`: `cargo run -p windrow-generate --example make_seed_files --
//! examples/seed`. Everybody and everything in them is made up from the lists below, the same every time.

use serde_json::{Value, json};
use windrow_generate::sampler::{Draws, Purpose, RecordSeed};

const FIRST: &[&str] = &[
    "Ilvara", "Tobren", "Maresk", "Odeline", "Quillon", "Sefira", "Brannoc", "Yselle", "Corvane", "Wendry",
    "Halric", "Nimue", "Ottoline", "Perrin", "Zofira", "Adalmar", "Fenwick", "Isaura", "Lorcan", "Velindra",
];
const LAST: &[&str] = &[
    "Thornquay",
    "Marrowby",
    "Ashdelver",
    "Pellwick",
    "Stonegarth",
    "Fairlough",
    "Quenby",
    "Harrowmere",
    "Winterfold",
    "Duskmantle",
    "Oakhollow",
    "Silverbeck",
    "Crannock",
    "Merridew",
    "Vantongeren",
    "Saltmarsh",
    "Underhay",
    "Bexcombe",
];
const TOWNS: &[&str] = &[
    "Port Ellowen",
    "Greyhaven Sluice",
    "Upper Tansley",
    "Marsh Ferrow",
    "Kestrel's Rest",
    "Low Brindle",
    "Castle Ombre",
    "Nine Wells",
    "Sedgemouth",
    "Tollan Bridge",
];
const TRADES: &[&str] = &[
    "lighthouse keeper",
    "bookbinder",
    "ferry pilot",
    "beekeeper",
    "clock mender",
    "salt trader",
    "village teacher",
    "map maker",
    "glass blower",
    "night baker",
];
const THINGS: &[&str] = &[
    "lantern",
    "orchard",
    "tide",
    "attic",
    "railway",
    "garden wall",
    "kettle",
    "heron",
    "map",
    "snowfall",
    "bell",
    "harbour",
    "ladder",
    "moth",
    "violin",
    "mill",
    "threshold",
    "rain barrel",
];
const LINES: &[&str] = &[
    "The {} waits where the evening thins,",
    "I counted the {} and lost my place,",
    "Nobody taught the {} its song,",
    "Under the {} the years lie still,",
    "A {} remembers more than we do,",
    "They sold the {} before the frost,",
    "What does the {} owe the dark?",
    "Bring me the {} and a chair,",
    "Once there was a {}, and then there was not,",
    "All morning the {} leaned on the light,",
];
const MOODS: &[&str] = &["joyful", "wistful", "stormy", "calm"];
const SEASONS: &[&str] = &["spring", "summer", "autumn", "winter"];
const TOPICS: &[&str] = &[
    "repairing {}s at home",
    "the history of the {}",
    "a museum about the {}",
    "teaching children to draw a {}",
    "a festival of the {}",
    "the {} as a business",
    "photographing a {} at dawn",
    "songs about the {}",
    "the {} in a small town",
    "ten myths about the {}",
];
const AUDIENCES: &[&str] =
    &["beginners", "curious teenagers", "retired engineers", "busy parents", "night-shift workers"];
const TONES: &[&str] = &["friendly", "dry", "enthusiastic", "matter-of-fact"];
const ANGLES: &[&str] = &[
    "costs and savings",
    "a first attempt that failed",
    "tools you already own",
    "what the neighbours say",
    "an afternoon's work",
    "a question nobody asks",
    "the oldest known example",
    "safety first",
    "five small joys",
];
const ROLES: &[&str] =
    &["detective", "apprentice", "mayor", "smuggler", "archivist", "innkeeper", "surveyor", "postmistress"];
const VOICES: &[&str] = &[
    "speaks in short sentences",
    "never answers directly",
    "quotes proverbs",
    "laughs before speaking",
    "is polite to a fault",
    "counts everything",
];
const SUBJECTS: &[&str] = &[
    "a missing ledger",
    "the price of lamp oil",
    "who rang the bell",
    "a letter without a sender",
    "the new bridge",
    "a debt from long ago",
    "the wrong coat",
    "an unlocked door",
];

fn pick<'a>(draws: &mut Draws, list: &[&'a str]) -> &'a str {
    draws.pick(list.len()).map_or("", |at| list[at])
}

/// Some of a list, all different.
fn some<'a>(draws: &mut Draws, list: &[&'a str], n: usize) -> Vec<&'a str> {
    let mut list = list.to_vec();
    draws.shuffle(&mut list);
    list.truncate(n);
    list
}

fn person(draws: &mut Draws) -> String {
    format!("{} {}", pick(draws, FIRST), pick(draws, LAST))
}

fn poem(draws: &mut Draws) -> Value {
    let name = person(draws);
    let (trade, town) = (pick(draws, TRADES), pick(draws, TOWNS));
    let things = some(draws, THINGS, 4);
    let lines: Vec<String> =
        some(draws, LINES, 4).iter().zip(&things).map(|(line, thing)| line.replace("{}", thing)).collect();
    let mut author = json!({
        "name": name,
        "biography": format!(
            "{name} was a {trade} in {town} and wrote at night. The first book, \"The {} Year\", was printed by a friend.",
            capital(things[0])
        ),
    });
    // Not every year of birth is known: templates have to live with that.
    if draws.below(3) > 0 {
        author["born"] = json!(1800 + draws.below(150));
    }
    json!({
        "author": author,
        "poem": {
            "title": format!("{} and {}", capital(things[1]), capital(things[2])),
            "text": lines.join("\n"),
            "mood": pick(draws, MOODS),
            "season": pick(draws, SEASONS),
        },
    })
}

fn capital(word: &str) -> String {
    word.split(' ').map(|w| w[..1].to_uppercase() + &w[1..]).collect::<Vec<_>>().join(" ")
}

fn scene(draws: &mut Draws) -> Value {
    let roles = some(draws, ROLES, 2);
    let voices = some(draws, VOICES, 2);
    let characters: Vec<Value> = roles
        .iter()
        .zip(voices)
        .map(|(role, voice)| json!({"name": person(draws), "role": role, "voice": voice}))
        .collect();
    json!({
        "scene": {
            "place": format!("a {} in {}", pick(draws, &["kitchen", "tavern", "boathouse", "reading room"]), pick(draws, TOWNS)),
            "time": pick(draws, &["before dawn", "at noon", "on a wet evening", "long after midnight"]),
        },
        "characters": characters,
        "subject": pick(draws, SUBJECTS),
    })
}

fn topics(rows: u64) -> String {
    let mut csv = String::from("topic,audience,tone,angles[0],angles[1],angles[2]\n");
    for index in 0..rows {
        let mut draws = draws(3, index);
        let topic = pick(&mut draws, TOPICS).replace("{}", pick(&mut draws, THINGS));
        let (audience, tone) = (pick(&mut draws, AUDIENCES), pick(&mut draws, TONES));
        // A quoted field with a comma in it, as real tables have.
        csv.push_str(&format!(
            "\"{topic}, step by step\",{audience},{tone},{}\n",
            some(&mut draws, ANGLES, 3).join(",")
        ));
    }
    csv
}

fn draws(file: u64, index: u64) -> Draws {
    RecordSeed { random_seed: file, index }.draws(Purpose::Pairing)
}

fn records(file: u64, rows: u64, make: fn(&mut Draws) -> Value) -> Vec<Value> {
    (0..rows).map(|index| make(&mut draws(file, index))).collect()
}

fn lines(records: &[Value]) -> String {
    records.iter().map(|record| format!("{record}\n")).collect()
}

fn list(records: &[Value]) -> String {
    let lines: Vec<String> = records.iter().map(|record| format!("  {record}")).collect();
    format!("[\n{}\n]\n", lines.join(",\n"))
}

/// The files by name.
pub fn files() -> Vec<(&'static str, String)> {
    vec![
        ("poems-10.json", list(&records(1, 10, poem))),
        ("poems-1000.jsonl", lines(&records(1, 1_000, poem))),
        ("scenes-10.jsonl", lines(&records(2, 10, scene))),
        ("scenes-1000.json", list(&records(2, 1_000, scene))),
        ("topics-10.csv", topics(10)),
        ("topics-1000.csv", topics(1_000)),
    ]
}

#[allow(dead_code, reason = "a test includes this file for its lists")]
fn main() -> std::io::Result<()> {
    let folder = std::env::args().nth(1).unwrap_or_else(|| "examples/seed".to_owned());
    for (name, text) in files() {
        std::fs::write(std::path::Path::new(&folder).join(name), text)?;
    }
    Ok(())
}
