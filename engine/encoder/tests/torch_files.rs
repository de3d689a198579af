//! Files of `torch.save` give the values that PyTorch saved (golden/make_pt_golden.py), and
//! damaged or hostile ones end in an error.

#[allow(dead_code, reason = "each test binary uses its part")]
mod golden;

use std::{
    io::{Cursor, Write},
    path::{Path, PathBuf},
};

use golden::tests_folder;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;
use twn_encoder::model::TorchFile;
use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

fn folder() -> PathBuf {
    tests_folder().join("fixtures/pt")
}

fn bytes(name: &str) -> Vec<u8> {
    fs_err::read(folder().join(name)).expect("readable")
}

fn parse(bytes: &[u8]) -> Result<TorchFile, String> {
    TorchFile::parse(Path::new("some.pt"), bytes).map_err(|error| error.to_string())
}

/// Packs a pickle and storages as `torch.save` does.
fn pack(pickle: &[u8], storages: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    let mut put = |name: String, bytes: &[u8]| {
        zip.start_file(name, options).expect("started");
        zip.write_all(bytes).expect("written");
    };
    put("a/data.pkl".to_owned(), pickle);
    for (key, bytes) in storages {
        put(format!("a/data/{key}"), bytes);
    }
    zip.finish().expect("finished").into_inner()
}

/// A pickle of one f32 tensor of storage `0`, with these arguments.
fn tensor_pickle(len: i64, offset: i64, shape: &[i64], strides: &[i64]) -> Vec<u8> {
    let long = |number: i64| [&[0x8a, 8][..], &number.to_le_bytes()].concat();
    let tuple = |numbers: &[i64]| {
        [b"(".to_vec(), numbers.iter().flat_map(|&n| long(n)).collect(), b"t".to_vec()].concat()
    };
    [
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storagectorch\nFloatStorage\n"
            .to_vec(),
        b"X\x01\0\0\x000X\x03\0\0\0cpu".to_vec(),
        long(len),
        b"tQ".to_vec(),
        long(offset),
        tuple(shape),
        tuple(strides),
        b"\x89ccollections\nOrderedDict\n)RtR.".to_vec(),
    ]
    .concat()
}

#[test]
fn values_are_those_that_were_saved() {
    let text = fs_err::read_to_string(folder().join("expected.json")).expect("readable");
    let expected: serde_json::Map<String, Value> = serde_json::from_str(&text).expect("JSON");
    assert_eq!(expected.len(), 14);
    for (name, rows) in expected {
        let read = parse(&bytes(&format!("{name}.pt"))).unwrap_or_else(|e| panic!("{name}: {e}"));
        let rows = rows.as_array().expect("rows");
        assert_eq!(read.tensors.len(), rows.len(), "{name}");
        for (tensor, row) in read.tensors.iter().zip(rows) {
            assert_eq!(Value::from(tensor.name.as_str()), row[0]);
            assert_eq!(Value::from(tensor.stored.name()), row[1]);
            assert_eq!(Value::from(tensor.tensor.shape.clone()), row[2]);
            let want = row[3].as_array().expect("values").iter();
            let want: Vec<f32> = want.map(|v| v.as_f64().expect("number") as f32).collect();
            assert_eq!(tensor.tensor.values, want, "{name}");
        }
    }
    let others = parse(&bytes("nested.pt")).expect("reads").others;
    assert_eq!(others, ["step", "big", "rate", "on", "off", "note"]);
}

#[test]
fn what_is_no_file_of_tensors_is_refused_by_name() {
    for (name, want) in [
        ("evil", "asks for `posix.system`: it was not run"),
        ("module", "asks for `torch.nn.modules.container.Sequential`"),
        ("legacy", "before version 1.6"),
        ("script", "TorchScript"),
        ("bytes", "asks for `torch.ByteStorage`: supported storages are Float"),
        ("empty", "shape [0, 4], which is empty"),
        ("expanded", "in a storage of 1 values"),
        ("nan", "tensor `` has a value at [1] that is not finite"),
        ("inexact", "that f32 does not have"),
        ("nothing", "holds no tensor"),
        ("subclass", "asks for `torch._tensor._rebuild_from_type_v2`"),
        ("sparse", "asks for `torch._utils._rebuild_sparse_tensor`"),
        ("big-endian", "byte order `big`"),
        ("compressed", "is compressed"),
    ] {
        let problem = parse(&bytes(&format!("refused/{name}.pt"))).expect_err(name);
        assert!(problem.contains(want), "{name}: {problem}");
        assert!(problem.contains("some.pt"), "{problem}");
    }
}

#[test]
fn a_file_cut_short_anywhere_is_refused() {
    for name in ["state.pt", "parameter.pt", "protocol4.pt", "refused/evil.pt"] {
        let whole = bytes(name);
        for len in 0..whole.len() {
            assert!(parse(&whole[..len]).is_err(), "{name} cut at {len}");
        }
    }
}

/// A flipped byte ends in an error, or lies where nothing is read: then nothing changes but
/// what a checksum does not cover, the names in the zip's directory.
#[test]
fn flipped_bytes_never_change_a_value() {
    for name in ["state.pt", "views.pt", "nested.pt"] {
        let mut bytes = bytes(name);
        let whole = parse(&bytes).expect("whole");
        let mut refused = 0;
        for at in 0..bytes.len() {
            for flip in [0x01, 0x80, 0xff] {
                bytes[at] ^= flip;
                match parse(&bytes) {
                    Ok(read) => assert_eq!(read, whole, "{name}, byte {at}, {flip:#x}"),
                    Err(_) => refused += 1,
                }
                bytes[at] ^= flip;
            }
        }
        assert!(refused > bytes.len() / 3, "{refused} of {}", bytes.len());
    }
}

/// The zip's checksum would hide what the interpreter does with damage: programs are damaged
/// before they are packed.
#[test]
fn damaged_programs_end_in_an_error_or_in_tensors_of_the_storage() {
    let whole = tensor_pickle(6, 0, &[2, 3], &[3, 1]);
    let storage: Vec<u8> = (1..=6).flat_map(|i| (i as f32).to_le_bytes()).collect();
    let good = parse(&pack(&whole, &[("0", &storage)])).expect("whole");
    assert_eq!(good.tensors[0].tensor.values, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    for len in 0..whole.len() {
        assert!(parse(&pack(&whole[..len], &[("0", &storage)])).is_err(), "cut at {len}");
    }
    let mut rng = ChaCha8Rng::seed_from_u64(9);
    for round in 0..20_000 {
        let mut program = whole.clone();
        for _ in 0..=round % 4 {
            let at = rng.random_range(0..program.len());
            match rng.random_range(0..3) {
                0 => program[at] = rng.random(),
                1 => program.insert(at, rng.random()),
                _ => drop(program.remove(at)),
            }
        }
        if let Ok(read) = parse(&pack(&program, &[("0", &storage)])) {
            for tensor in read.tensors {
                let values = &tensor.tensor.values;
                assert_eq!(values.len(), tensor.tensor.shape.iter().product::<usize>());
                assert!(values.len() <= 12, "more than the storage has: {values:?}");
            }
        }
    }
}

#[test]
fn tensors_lie_within_their_storage() {
    let storage = [0; 24];
    let refused = |pickle: Vec<u8>, want: &str| {
        let problem = parse(&pack(&pickle, &[("0", &storage)])).expect_err("refused");
        assert!(problem.contains(want), "{problem}");
    };
    refused(tensor_pickle(6, 1, &[2, 3], &[3, 1]), "which has not so many");
    refused(tensor_pickle(6, 0, &[2, 3], &[4, 1]), "which has not so many");
    refused(tensor_pickle(6, 0, &[7], &[0]), "which has not so many");
    refused(tensor_pickle(6, 0, &[i64::MAX, i64::MAX], &[0, 0]), "which has not so many");
    refused(tensor_pickle(6, 0, &[2], &[i64::MAX]), "which has not so many");
    refused(tensor_pickle(6, i64::MAX, &[2], &[1]), "which has not so many");
    refused(tensor_pickle(6, -1, &[2], &[1]), "are no numbers");
    refused(tensor_pickle(6, 0, &[-2], &[1]), "are no numbers");
    refused(tensor_pickle(6, 0, &[2, 2], &[1]), "2 sizes and 1 strides");
    refused(tensor_pickle(6, 0, &[1; 9], &[1; 9]), "9 sizes");
    refused(tensor_pickle(7, 0, &[2, 3], &[3, 1]), "24 bytes that should have 28");
    refused(tensor_pickle(i64::MAX, 0, &[i64::MAX], &[1]), "at most 134217728 are read");
    refused(tensor_pickle(1 << 27, 0, &[1 << 27], &[1]), "24 bytes that should have 536870912");
}

#[test]
fn programs_without_end_or_measure_are_refused() {
    let check = |pickle: &[u8], want: &str| {
        let problem = parse(&pack(pickle, &[])).expect_err("refused");
        assert!(problem.contains(want), "{problem}");
    };
    check(b"cos\nsystem\n(X\x02\0\0\0lstR.", "asks for `os.system`");
    check(b"\x8c\x02os\x8c\x06system\x93.", "asks for `os.system`");
    check(b"cbuiltins\neval\n.", "asks for `builtins.eval`");
    check(b"ctorch._utils\n_rebuild_tensor\n.", "asks for `torch._utils._rebuild_tensor`");
    check(b"(i__main__\nX\n.", "instruction 0x69");
    check(b"\x80\x06.", "protocol 6");
    check(b"\x80\x01.", "protocol 1");
    check(b".", "not on its stack");
    check(b"h\x00.", "was not kept");
    check(b"(0.", "instruction 0x30");
    check(b"ccollections\nOrderedDict\n.", "holds `collections.OrderedDict` itself");
    check(b"ccollections\nOrderedDict\nK\x01\x85R.", "with 1 arguments");
    check(b"}K\x01a.", "no list");
    check(b"]K\x01K\x02s.", "no dictionary");
    check(b"}(K\x01u.", "without a value");
    check(b"]q\0h\0a.", "more than 16 deep");
    check(b"N}b.", "no dictionary");
    check(b"\x8a\xff", "ends too early");
    check(&[b"\x8a\x09".as_slice(), &[1; 9]].concat(), "number of 9 bytes");
    check(b"X\xff\xff\xff\xff", "ends too early");
    check(&b"N".repeat(70_000), "on its stack");
    check(&b"(".repeat(70_000), "marks");
    check(&b"]".repeat(65_537), "more than 65536 objects");
    check(&b")\x85".repeat(40_000), "more than 65536 objects");
    // Lists of eight times the list before: 8^13 entries of 14 objects.
    let doubled: Vec<u8> = (0..13u8)
        .fold(b"]q\0".to_vec(), |mut all, i| {
            all.extend([b']', b'(']);
            all.extend([b'h', i].repeat(8));
            all.extend([b'e', b'q', i + 1]);
            all
        })
        .into_iter()
        .chain(*b".")
        .collect();
    check(&doubled, "more than 65536 entries");
}
