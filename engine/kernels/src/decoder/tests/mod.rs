//! The fused pass against plain arithmetic in f64, and against itself cut differently.

mod plain;

use super::*;
use crate::fixture::Random;
use plain::{Plain, PlainAdapter};

/// A shape with no size that is a multiple of 16.
fn odd_shape() -> DecoderShape {
    DecoderShape {
        vocab: 50,
        hidden: 44,
        intermediate: 52,
        layers: 3,
        heads: 6,
        kv_heads: 2,
        head_dim: 10,
        rope_theta: 1000.0,
        norm_eps: 1e-5,
    }
}

/// A shape of whole blocks.
fn even_shape() -> DecoderShape {
    let shape = odd_shape();
    DecoderShape { hidden: 64, intermediate: 96, heads: 4, head_dim: 32, kv_heads: 1, ..shape }
}

fn options(isa: Isa, threads: usize, half_cache: bool) -> DecoderOptions {
    let activations = ActivationBits::default();
    DecoderOptions { threads, isa, activations, half_cache, positions: 256 }
}

fn tokens(seed: u64, count: usize) -> Vec<u32> {
    let mut random = Random::new(seed);
    (0..count).map(|_| random.below(50) as u32).collect()
}

fn run(
    decoder: &Decoder,
    cache: &mut KvCache,
    tokens: &[u32],
    adapter: Option<&Adapter>,
) -> Vec<f32> {
    let mut rows = decoder.embed(tokens);
    decoder.forward(&mut rows, &mut [Span { len: tokens.len(), cache }], adapter);
    rows
}

#[track_caller]
fn assert_close(got: &[f32], want: &[f64], bound: f64) {
    assert_eq!(got.len(), want.len());
    let error: f64 = got.iter().zip(want).map(|(g, w)| (f64::from(*g) - w).powi(2)).sum();
    let size: f64 = want.iter().map(|w| w * w).sum();
    let relative = (error / size).sqrt();
    assert!(relative <= bound, "relative error {relative}, bound {bound}");
}

#[test]
fn dense_decoders_compute_what_the_reference_does() {
    for shape in [odd_shape(), even_shape()] {
        let plain = Plain::random(&shape, false);
        let adapter = PlainAdapter::random(&plain, 3);
        let tokens = tokens(1, 71);
        for isa in Isa::available() {
            for threads in [1, 2, 3] {
                let decoder = plain.decoder(Precision::Dense, options(isa, threads, false));
                let got = run(&decoder, &mut decoder.new_cache(), &tokens, None);
                assert_close(&got, &plain.reference(&tokens, None), 1e-5);
                let packed = adapter.pack(&decoder);
                let got = run(&decoder, &mut decoder.new_cache(), &tokens, Some(&packed));
                assert_close(&got, &plain.reference(&tokens, Some(&adapter)), 1e-5);
            }
        }
    }
}

#[test]
fn a_tap_reads_what_a_shorter_decoder_ends_with() {
    let (shape, rows) = (odd_shape(), [70, 0, 3, 3]);
    let tokens = tokens(1, 71);
    let plain = Plain::random(&shape, false);
    for layers in 1..=shape.layers {
        let short = Plain::random(&shape, false).first(layers);
        let all = short.reference(&tokens, None);
        let want: Vec<f64> = rows
            .iter()
            .flat_map(|row| &all[row * shape.hidden..][..shape.hidden])
            .copied()
            .collect();
        for isa in Isa::available() {
            let decoder = plain.decoder(Precision::Dense, options(isa, 2, false));
            let untapped = run(&decoder, &mut decoder.new_cache(), &tokens, None);
            let mut values = vec![0.0; rows.len() * shape.hidden];
            let (mut got, mut cache) = (decoder.embed(&tokens), decoder.new_cache());
            let mut spans = [Span { len: tokens.len(), cache: &mut cache }];
            let tap = Tap { layers, rows: &rows, values: &mut values };
            decoder.forward_with(&mut got, &mut spans, None, &RowExtras::default(), Some(tap));
            assert_eq!(got, untapped);
            let finished: Vec<f32> = short.finish(&values).iter().map(|&v| v as f32).collect();
            assert_close(&finished, &want, 1e-5);
        }
    }
}

#[test]
fn quantised_decoders_differ_by_the_rounding_of_activations() {
    for (is_four, precision) in
        [(true, Precision::AsStored), (false, Precision::Eight), (true, Precision::Eight)]
    {
        let plain = Plain::random(&even_shape(), is_four);
        let adapter = PlainAdapter::random(&plain, 8);
        let tokens = tokens(2, 40);
        for isa in Isa::available() {
            // Rounding to int8 moves each product by about 0.5 %, and so do weights that are
            // packed anew in 8 bits; random layers add the errors up. With kept layers and
            // int16 the embedding table, packed in 8 bits, is what is left. The tiles' own
            // tests are exact.
            let kept = is_four && precision == Precision::AsStored;
            for (activations, bound) in [
                (ActivationBits::Eight, 0.05),
                (ActivationBits::Sixteen, if kept { 0.01 } else { 0.05 }),
            ] {
                let options = DecoderOptions { activations, ..options(isa, 2, true) };
                let decoder = plain.decoder(precision, options);
                let got = run(&decoder, &mut decoder.new_cache(), &tokens, None);
                assert_close(&got, &plain.reference(&tokens, None), bound);
                let packed = adapter.pack(&decoder);
                let got = run(&decoder, &mut decoder.new_cache(), &tokens, Some(&packed));
                // The adapter's factors are packed in 8 bits.
                assert_close(&got, &plain.reference(&tokens, Some(&adapter)), 0.05);
            }
        }
    }
}

#[test]
fn logits_are_products_with_the_head() {
    let plain = Plain::random(&odd_shape(), false);
    for isa in Isa::available() {
        let decoder = plain.decoder(Precision::Dense, options(isa, 2, false));
        let hidden = Random::new(3).values(3 * 44);
        let got = decoder.logits(&hidden);
        let want: Vec<f64> = hidden
            .chunks(44)
            .flat_map(|row| {
                let row: Vec<f64> = row.iter().map(|&v| v.into()).collect();
                plain.embedding.apply(&row)
            })
            .collect();
        assert_close(&got, &want, 1e-5);
    }
}

/// All kinds of decoders, for the tests that want equal bits.
fn each_decoder(mut check: impl FnMut(&Decoder, Option<&Adapter>)) {
    for (is_four, precision) in
        [(false, Precision::Dense), (true, Precision::AsStored), (false, Precision::Eight)]
    {
        let plain = Plain::random(&even_shape(), is_four);
        let adapter = PlainAdapter::random(&plain, 4);
        for isa in Isa::available() {
            let decoder = plain.decoder(precision, options(isa, 2, is_four));
            check(&decoder, None);
            let packed = adapter.pack(&decoder);
            check(&decoder, Some(&packed));
        }
    }
}

#[test]
fn any_cut_of_a_prompt_gives_the_same_bits() {
    let tokens = tokens(4, 75);
    each_decoder(|decoder, adapter| {
        let whole = run(decoder, &mut decoder.new_cache(), &tokens, adapter);
        let mut random = Random::new(9);
        for _ in 0..4 {
            let mut cache = decoder.new_cache();
            let (mut parts, mut start) = (Vec::new(), 0);
            while start < tokens.len() {
                let end = (start + 1 + random.below(40)).min(tokens.len());
                parts.extend(run(decoder, &mut cache, &tokens[start..end], adapter));
                start = end;
            }
            assert!(whole == parts, "{:?}", decoder.options());
        }
    });
}

#[test]
fn a_batch_computes_what_its_sequences_compute_alone() {
    let prompts: Vec<Vec<u32>> =
        [1, 30, 2, 33, 64, 5].iter().map(|&len| tokens(len as u64, len)).collect();
    each_decoder(|decoder, adapter| {
        let alone: Vec<Vec<f32>> = prompts
            .iter()
            .map(|prompt| run(decoder, &mut decoder.new_cache(), prompt, adapter))
            .collect();
        let mut caches: Vec<KvCache> = prompts.iter().map(|_| decoder.new_cache()).collect();
        let mut rows = decoder.embed(&prompts.concat());
        let mut spans: Vec<Span<'_>> = caches
            .iter_mut()
            .zip(&prompts)
            .map(|(cache, prompt)| Span { len: prompt.len(), cache })
            .collect();
        decoder.forward(&mut rows, &mut spans, adapter);
        assert!(rows == alone.concat(), "{:?}", decoder.options());
        for (cache, prompt) in caches.iter().zip(&prompts) {
            assert_eq!(cache.len(), prompt.len());
        }
        let hidden = &rows[..decoder.shape().hidden * 9];
        let together = decoder.logits(hidden);
        let single: Vec<f32> =
            hidden.chunks(decoder.shape().hidden).flat_map(|row| decoder.logits(row)).collect();
        assert!(together == single, "{:?}", decoder.options());
    });
}

#[test]
fn a_shared_prefix_and_a_truncated_cache_change_nothing() {
    let tokens = tokens(6, 50);
    each_decoder(|decoder, adapter| {
        let whole = run(decoder, &mut decoder.new_cache(), &tokens, adapter);
        let rest = &whole[37 * decoder.shape().hidden..];
        let mut prefix = decoder.new_cache();
        run(decoder, &mut prefix, &tokens[..37], adapter);
        let mut other = prefix.clone();
        run(decoder, &mut other, &tokens[..20], adapter);
        other.truncate(37);
        for mut cache in [prefix.clone(), other, prefix] {
            assert!(rest == run(decoder, &mut cache, &tokens[37..], adapter));
        }
    });
}

#[test]
fn passes_give_their_pages_back() {
    let plain = Plain::random(&even_shape(), true);
    let decoder = plain.decoder(Precision::AsStored, options(Isa::best(), 2, true));
    let mut cache = decoder.new_cache();
    run(&decoder, &mut cache, &tokens(7, 100), None);
    drop(cache);
    let pages = decoder.pool().free_pages();
    assert_eq!(pages, 4);
    run(&decoder, &mut decoder.new_cache(), &tokens(8, 100), None);
    assert_eq!(decoder.pool().free_pages(), pages);
}

#[test]
fn weights_that_do_not_fit_are_refused() {
    let plain = Plain::random(&even_shape(), false);
    let other = DecoderShape { intermediate: 64, ..even_shape() };
    let decoder = plain.decoder(Precision::Eight, options(Isa::Portable, 1, true));
    let Decoder { weights, .. } = decoder;
    let refused = Decoder::new(other, weights, options(Isa::Portable, 1, true));
    assert!(refused.expect_err("does not fit").to_string().contains("layer 0"));
}

#[test]
fn a_head_shared_by_very_many_queries_is_rotated_once() {
    // More queries for a key than one unit of attention takes.
    let shape = DecoderShape { heads: 60, kv_heads: 1, head_dim: 4, ..odd_shape() };
    let plain = Plain::random(&shape, false);
    let tokens = tokens(12, 5);
    for isa in Isa::available() {
        let decoder = plain.decoder(Precision::Dense, options(isa, 2, false));
        let whole = run(&decoder, &mut decoder.new_cache(), &tokens, None);
        assert_close(&whole, &plain.reference(&tokens, None), 1e-5);
        let mut cache = decoder.new_cache();
        let steps: Vec<f32> =
            tokens.iter().flat_map(|token| run(&decoder, &mut cache, &[*token], None)).collect();
        assert!(whole == steps, "{isa:?}");
    }
}

#[track_caller]
fn assert_panics(message: &str, run: impl FnOnce()) {
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run));
    let panic = caught.expect_err("refused");
    let text = panic.downcast_ref::<String>().cloned();
    let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
    assert!(text.expect("a message").contains(message));
}

#[test]
fn what_was_made_for_another_decoder_is_refused() {
    let plain = Plain::random(&even_shape(), false);
    let small = Plain::random(&odd_shape(), false);
    let decoder = plain.decoder(Precision::Eight, options(Isa::best(), 2, true));
    let other = small.decoder(Precision::Eight, options(Isa::best(), 1, true));
    let dense = plain.decoder(Precision::Dense, options(Isa::best(), 1, true));
    assert_panics("the cache is this decoder's", || {
        run(&decoder, &mut other.new_cache(), &[1, 2], None);
    });
    let foreign = PlainAdapter::random(&small, 3).pack(&other);
    let unquantised = PlainAdapter::random(&plain, 3).pack(&dense);
    for adapter in [foreign, unquantised] {
        assert_panics("the adapter is this decoder's", || {
            run(&decoder, &mut decoder.new_cache(), &[1, 2], Some(&adapter));
        });
    }
    // Lengths whose sum wraps around to the number of rows.
    let (mut first, mut second) = (decoder.new_cache(), decoder.new_cache());
    run(&decoder, &mut first, &[1], None);
    assert_panics("positions lie within", || {
        let mut rows = decoder.embed(&[1, 2]);
        let spans =
            &mut [Span { len: usize::MAX, cache: &mut first }, Span { len: 3, cache: &mut second }];
        decoder.forward(&mut rows, spans, None);
    });
    let mut eight = decoder.new_cache_for(ActivationBits::Eight);
    let mut sixteen = decoder.new_cache_for(ActivationBits::Sixteen);
    assert_panics("one rounding in a pass", || {
        let mut rows = decoder.embed(&[1, 2]);
        let spans = &mut [Span { len: 1, cache: &mut eight }, Span { len: 1, cache: &mut sixteen }];
        decoder.forward(&mut rows, spans, None);
    });
    assert_panics("whole rows", || drop(decoder.logits(&[0.0; 65])));
    // The refusals leave the decoder as it was.
    run(&decoder, &mut first, &[2], None);
    assert_eq!((first.len(), second.len()), (2, 0));
}

#[test]
fn layers_of_different_kinds_and_sizes_that_wrap_are_refused() {
    let plain = Plain::random(&even_shape(), false);
    let make = |precision| plain.decoder(precision, options(Isa::Portable, 1, true)).weights;
    let mut mixed = make(Precision::Eight);
    mixed.layers[1].down = make(Precision::Dense).layers.remove(1).down;
    let refused = Decoder::new(even_shape(), mixed, options(Isa::Portable, 1, true));
    assert!(refused.expect_err("mixed").to_string().contains("layer 1"));
    // heads * head_dim wraps around to the 128 that the weights have.
    let shape = DecoderShape { heads: (1 << 59) + 4, ..even_shape() };
    let refused = Decoder::new(shape, make(Precision::Eight), options(Isa::Portable, 1, true));
    assert!(refused.expect_err("wraps").to_string().contains("size of a head"));
}

#[test]
fn values_that_are_not_finite_stay_in_their_sequence() {
    each_decoder(|decoder, adapter| {
        let hidden = decoder.shape().hidden;
        let good = decoder.embed(&tokens(13, 7));
        let mut alone = good.clone();
        let mut cache = decoder.new_cache();
        decoder.forward(&mut alone, &mut [Span { len: 7, cache: &mut cache }], adapter);
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, 1e-45] {
            let (mut first, mut second) = (decoder.new_cache(), decoder.new_cache());
            let mut rows = vec![bad; 5 * hidden];
            rows.extend(&good);
            let spans =
                &mut [Span { len: 5, cache: &mut first }, Span { len: 7, cache: &mut second }];
            decoder.forward(&mut rows, spans, adapter);
            assert!(rows[5 * hidden..] == alone, "{bad} {:?}", decoder.options());
            // The pages that held them are used again.
            drop(first);
            let mut again = good.clone();
            let mut cache = decoder.new_cache();
            decoder.forward(&mut again, &mut [Span { len: 7, cache: &mut cache }], adapter);
            assert!(again == alone, "{bad} {:?}", decoder.options());
        }
    });
}
