//! Still images against the PIL image processor of Qwen2-VL.

use twn_media::{Size, image_size, preprocess_image};

use crate::support::{check_patches, golden, number, pattern, spec};

#[test]
fn every_pixel_is_the_slow_processors() {
    for row in golden("images.json") {
        let spec = spec(row["spec"].as_str().expect("name"));
        let (width, height) = (number(&row, "width") as u32, number(&row, "height") as u32);
        let image = pattern(width, height, number(&row, "seed"));
        let patches = preprocess_image(&image, &spec).expect("has a size");
        check_patches(&patches, &spec, &row);
    }
}

#[test]
fn two_hundred_grids_are_the_same() {
    let rows = golden("grids.json");
    assert_eq!(rows.len(), 200);
    for row in rows {
        let side = |i: usize| row[i].as_u64().expect("side") as u32;
        let spec = spec(row[0].as_str().expect("name"));
        let size = image_size(Size { width: side(1), height: side(2) }, &spec).expect("has a size");
        let grid = (size.width / spec.patch, size.height / spec.patch);
        assert_eq!(grid, (side(3), side(4)), "{row}");
    }
}
