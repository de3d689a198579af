//! Places, things and filler sentences. Every place is made up.

use super::super::super::{
    dice::Dice,
    split::{Parts, Split},
};
use super::Topic;

/// First halves of place names.
pub(super) const PREFIXES: Parts<&str> = Parts {
    train: &[
        "Ash", "Bram", "Cold", "Dun", "Elm", "Fair", "Glen", "Hart", "Iver", "Kings", "Lang",
        "Mill", "North", "Oak", "Pen", "Quarr", "Red", "Stan", "Thorn", "Up", "Wal", "Whit", "Yar",
        "Black", "Castle", "Den", "East", "Ful", "Green", "Hazel", "Long", "Marsh", "Nether",
        "Over", "Pres", "Rother", "Sand", "Tarn", "Wether", "Wood", "Brig", "Crow", "Dray",
        "Eller", "Fern", "Gold", "High", "Ings", "Kel", "Lin", "Monk", "Nor", "Ox", "Raven",
        "Swan", "Tor", "West", "Wolver", "Birch", "Chal",
    ],
    valid: &["Alder", "Beck", "Copper", "Dove", "Ever", "Flax", "Grim", "Holly", "Ketter", "Lark"],
    test: &[
        "Amber", "Bishop", "Clay", "Deep", "Ember", "Falcon", "Gar", "Heron", "Juniper", "Lime",
        "Maple", "Nettle", "Otter", "Plover", "Rush", "Sorrel",
    ],
};
/// Second halves; shared, since the whole name is what splits have of their own.
const SUFFIXES: [&str; 14] = [
    "ford", "ton", "bury", "ley", "wick", "field", "stead", "mere", "gate", "bridge", "dale",
    "worth", "combe", "hurst",
];

/// A place name.
pub(super) fn place(split: Split, dice: &mut Dice) -> String {
    format!("{}{}", dice.pick(PREFIXES.of(split)), dice.pick(&SUFFIXES))
}

pub(super) const SITES: Parts<&str> = Parts {
    train: &[
        "depot",
        "north wing",
        "main site",
        "harbour",
        "workshop",
        "south yard",
        "annex",
        "plant",
        "warehouse",
        "station",
    ],
    valid: &["upper floor", "quay", "branch office"],
    test: &["west block", "boathouse", "field office", "lower hall"],
};

pub(super) const WHO: Parts<&str> = Parts {
    train: &[
        "The night crew",
        "An engineer",
        "The caretaker",
        "A contractor",
        "The committee",
        "The foreman",
        "A visitor",
        "The duty officer",
        "The team",
        "An inspector",
        "The clerk",
        "The operator",
    ],
    valid: &["The warden", "A trainee", "The surveyor"],
    test: &["The supervisor", "A technician", "The secretary", "A volunteer"],
};
pub(super) const DID: Parts<&str> = Parts {
    train: &[
        "checked",
        "replaced",
        "reported on",
        "cleaned",
        "asked about",
        "adjusted",
        "photographed",
        "approved",
        "ordered",
        "tested",
        "repaired",
        "signed for",
    ],
    valid: &["measured", "painted", "looked at"],
    test: &["examined", "refitted", "noted", "returned"],
};
pub(super) const WHAT: Parts<&str> = Parts {
    train: &[
        "the inlet filter",
        "a broken seal",
        "the spare keys",
        "the emergency lighting",
        "a loose cable",
        "the fire door",
        "the new labels",
        "a faulty switch",
        "the access ramp",
        "the cooling fan",
        "the roof hatch",
        "a worn bearing",
    ],
    valid: &["the drain cover", "a cracked window", "the signboard"],
    test: &["the outer fence", "a bent bracket", "the water meter", "the spare battery"],
};

/// Things of a topic.
pub(super) fn things(topic: Topic) -> Parts<&'static str> {
    match topic {
        Topic::Record => Parts {
            train: &[
                "pump log",
                "meeting minutes",
                "shift report",
                "inspection record",
                "boiler log",
                "visitor register",
                "maintenance ticket",
                "incident report",
                "council minutes",
                "delivery note",
                "weather diary",
                "security log",
                "laboratory journal",
                "repair ticket",
                "cleaning record",
                "power reading",
            ],
            valid: &["gate log", "board minutes", "outage ticket", "flow record"],
            test: &["generator log", "parish minutes", "fault ticket", "tide record", "crew diary"],
        },
        Topic::Timetable => Parts {
            train: &[
                "express train",
                "ferry crossing",
                "staff briefing",
                "night bus",
                "swimming class",
                "market opening",
                "guided tour",
                "mail collection",
                "evening lecture",
                "choir practice",
                "shuttle bus",
                "kiln firing",
            ],
            valid: &["tram service", "dance lesson", "harbour cruise"],
            test: &["airport coach", "language course", "castle tour", "milk round"],
        },
        Topic::Part => Parts {
            train: &[
                "relief valve",
                "drain hose",
                "gasket set",
                "steel bracket",
                "mixing tank",
                "heating element",
                "drive belt",
                "test cylinder",
                "copper pipe",
                "pump housing",
                "storage rack",
                "filter cartridge",
                "support beam",
                "fuel can",
            ],
            valid: &["cable drum", "check valve", "glass vessel", "roof panel"],
            test: &["control valve", "timber plank", "coolant tank", "anchor chain", "oven shelf"],
        },
        Topic::Code => Parts {
            train: &[
                "boiler controller",
                "lift panel",
                "modem",
                "door lock",
                "sensor board",
                "print server",
                "battery charger",
                "signal box",
                "router",
                "crane console",
                "ticket machine",
                "scanner",
            ],
            valid: &["alarm unit", "pump drive", "card reader"],
            test: &["heat pump", "gate motor", "data logger", "label printer"],
        },
        Topic::Chapter => Parts {
            train: &[
                "chronicle",
                "operating manual",
                "county history",
                "treaty",
                "field guide",
                "songbook",
                "atlas",
                "building code",
                "herbal",
                "travel journal",
                "gazetteer",
                "cookery book",
            ],
            valid: &["almanac", "rule book", "memoir"],
            test: &["safety handbook", "bird catalogue", "charter", "grammar"],
        },
        Topic::Stock => Parts {
            train: &[
                "storeroom",
                "canteen order",
                "school supply list",
                "field kitchen",
                "bakery order",
                "camp inventory",
                "workshop stock",
                "hospital ward",
                "hotel pantry",
                "club bar",
                "library order",
                "garden centre",
            ],
            valid: &["cafe delivery", "ship's store", "museum shop"],
            test: &["farm shop", "clinic supply", "rescue post", "theatre buffet"],
        },
        Topic::Unit => Parts {
            train: &[
                "water tank",
                "generator",
                "silo",
                "freezer",
                "conveyor",
                "greenhouse",
                "furnace",
                "crane",
                "cargo hold",
                "meeting room",
                "car park",
                "turbine",
            ],
            valid: &["cistern", "compressor", "barn"],
            test: &["reservoir", "cold store", "lathe", "sports hall"],
        },
        Topic::Handbook => Parts {
            train: &[
                "staff handbook",
                "training course",
                "project brief",
                "seminar",
                "policy paper",
                "glossary page",
                "workshop notes",
                "help desk article",
                "working group",
                "lecture series",
                "newsletter item",
                "budget line",
            ],
            valid: &["reading list", "task force", "poster session"],
            test: &["briefing sheet", "study circle", "support page", "annual review"],
        },
    }
}
