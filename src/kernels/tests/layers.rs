//! Do whole decoder layers keep the laws, alone and on top of each other, and where rows are answered?

use super::*;

/// A layer of hidden size 40, with 6 query heads and 2 key heads of width 8, and an MLP of width 56.
fn layer() -> Arc<FrozenLayer> {
    another_layer(0)
}

fn another_layer(which: u32) -> Arc<FrozenLayer> {
    layer_of(40, (80, 48), 56, 100 * which)
}

/// A layer of a hidden size, with as many queries, keys and values together, of which so many are queries, and an MLP of a
/// width.
fn layer_of(
    hidden: usize,
    (qkv, queries): (usize, usize),
    inner: usize,
    first_seed: u32,
) -> Arc<FrozenLayer> {
    let noise = |dims, seed| noise(dims, seed + first_seed);
    let linear =
        |(d_out, d_in), seed| FrozenLinear::new(&(noise((d_out, d_in), seed) * 0.3).unwrap()).unwrap();
    let norm = |seed| RmsNorm::new(&noise((1, hidden), seed).flatten_all().unwrap(), 1e-5).unwrap();
    Arc::new(FrozenLayer {
        attn_norm: norm(11),
        qkv: linear((qkv, hidden), 12),
        output: linear((hidden, queries), 13),
        ffn_norm: norm(14),
        gate_up: linear((2 * inner, hidden), 15),
        down: linear((hidden, inner), 16),
    })
}

/// Of each corrected projection: the stack, its first output there, and (out, in).
type Corrected = (usize, usize, (usize, usize));

const ALL: [Corrected; 7] = [
    (0, 0, (48, 40)),
    (0, 48, (16, 40)),
    (0, 64, (16, 40)),
    (1, 0, (40, 48)),
    (2, 0, (56, 40)),
    (2, 56, (56, 40)),
    (3, 0, (40, 56)),
];

#[test]
fn a_decoder_layer_keeps_the_laws() {
    let layer = layer();
    let cases = [
        (&ALL[..], 0, vec![5]),
        (&ALL[..], 3, vec![1, 9, 4]),
        (&ALL[..1], 0, vec![7, 2]),
        (&ALL[2..5], 0, vec![70, 131]),
        (&ALL[..], 66, vec![67, 5]),
    ];
    for (corrected, n_shared, lengths) in cases {
        assert_laws(&layer, corrected, 3, &sharing(n_shared, &lengths));
    }
}

/// As those of real models, but for few widths: every correction begins where a tile does, and the MLP is wider than what is
/// made of it at one go. 8 query heads and 4 key heads of width 8.
const EVEN: [Corrected; 7] = [
    (0, 0, (64, 72)),
    (0, 64, (32, 72)),
    (0, 96, (32, 72)),
    (1, 0, (72, 64)),
    (2, 0, (416, 72)),
    (2, 416, (416, 72)),
    (3, 0, (72, 416)),
];

fn even_layer(which: u32) -> Arc<FrozenLayer> {
    layer_of(72, (128, 64), 416, 100 * which)
}

fn even_shape(n_shared: usize, lengths: &[usize]) -> Arc<AttentionShape> {
    Arc::new(AttentionShape { n_heads: 8, n_kv_heads: 4, ..(*sharing(n_shared, lengths)).clone() })
}

/// Where rows are rounded, they are kept so, and gradients are made of them; some of more rows than are taken at one go.
#[test]
fn corrections_that_begin_where_tiles_do_keep_the_laws() {
    for (corrected, rank, n_shared, lengths) in [
        (&EVEN[..], 3, 0, vec![33]),
        (&EVEN[..], 16, 0, vec![129]),
        (&EVEN[4..], 20, 0, vec![1]),
        (&EVEN[..4], 2, 40, vec![7, 30]),
        (&EVEN[..], 5, 66, vec![180, 190, 170, 150]),
    ] {
        assert_laws(&even_layer(0), corrected, rank, &even_shape(n_shared, &lengths));
    }
}

/// Then rows are kept as they are, at every level.
#[test]
fn a_norm_that_hides_a_column_keeps_the_laws() {
    let mut layer = even_layer(0);
    let hides = Tensor::arange(0.0_f32, 72.0, &Device::Cpu).unwrap();
    let norm = RmsNorm::new(&(hides / 36.0).unwrap(), 1e-5).unwrap();
    Arc::get_mut(&mut layer).unwrap().ffn_norm = norm;
    assert_laws(&layer, &EVEN, 4, &even_shape(3, &[40, 9]));
}

fn assert_laws(layer: &Arc<FrozenLayer>, corrected: &[Corrected], rank: usize, shape: &Arc<AttentionShape>) {
    let n = shape.n_shared + shape.lengths.iter().sum::<usize>();
    let mut inputs = vec![noise((n, layer.qkv.dims().1), 1)];
    for (i, &(_, _, (d_out, d_in))) in corrected.iter().enumerate() {
        inputs.extend([noise((rank, d_in), 20 + i as u32), noise((d_out, rank), 40 + i as u32)]);
    }
    let run = |t: &[&Tensor], fast: bool| {
        let mut corrections = LayerCorrections::default();
        for (i, &(stack, start, _)) in corrected.iter().enumerate() {
            corrections[stack].push(Correction { start, a: t[1 + 2 * i], b: t[2 + 2 * i] });
        }
        let lora = Corrections { layers: vec![corrections], scaling: 0.4, ..Corrections::default() };
        let layers = std::slice::from_ref(layer);
        if fast {
            decoder_layers(t[0], layers, &lora, shape)
        } else {
            decoder_layers_portable(t[0], layers, &lora, shape)
        }
    };
    check("decoder_layers", &|t| run(t, true), &|t| run(t, false), &inputs);
}

#[test]
fn a_layer_without_corrections_passes_the_gradient_on() {
    let (layers, shape, none) = ([layer()], shape(&[4, 6]), Corrections::default());
    check(
        "base layer",
        &|t| decoder_layers(t[0], &layers, &none, &shape),
        &|t| decoder_layers_portable(t[0], &layers, &none, &shape),
        &[noise((10, 40), 1)],
    );
}

/// Three layers, corrected differently, one not at all; their weights are views of one vector.
#[test]
fn layers_on_top_of_each_other_keep_the_laws() {
    assert_laws_of_three(&[0, 1, 2].map(another_layer), [&ALL, &[], &ALL[1..5]], &sharing(2, &[3, 6]));
    assert_laws_of_three(&[0, 1, 2].map(even_layer), [&EVEN, &[], &EVEN[1..5]], &even_shape(2, &[3, 60]));
}

fn assert_laws_of_three(
    layers: &[Arc<FrozenLayer>; 3],
    corrected: [&[Corrected]; 3],
    shape: &Arc<AttentionShape>,
) {
    let n: usize =
        corrected.iter().flat_map(|c| c.iter()).map(|(.., (d_out, d_in))| 3 * (d_out + d_in)).sum();
    let run = |t: &[&Tensor], fast: bool| {
        let mut at = 0;
        let mut view = |rows: usize, cols: usize| {
            at += rows * cols;
            t[1].narrow(1, at - rows * cols, rows * cols)?.reshape((rows, cols))
        };
        let mut views = Vec::new();
        for corrected in corrected {
            for stack in 0..4 {
                let own = || corrected.iter().filter(|&&(of, ..)| of == stack);
                let a = own().map(|&(.., (_, d_in))| view(3, d_in)).collect::<Result<Vec<_>>>()?;
                let b = own().map(|&(.., (d_out, _))| view(d_out, 3)).collect::<Result<Vec<_>>>()?;
                let starts = own().map(|&(_, start, _)| start);
                views.push(starts.zip(a.into_iter().zip(b)).collect::<Vec<_>>());
            }
        }
        let of = |stack: usize| {
            views[stack].iter().map(|(start, (a, b))| Correction { start: *start, a, b }).collect()
        };
        let layers_of = |layer: usize| std::array::from_fn(|stack| of(4 * layer + stack));
        let flat = t[1].flatten_all()?;
        let layers_of = (0..3).map(layers_of).collect();
        let lora = Corrections { layers: layers_of, scaling: 0.4, flat: Some(&flat), gradient: None };
        if fast {
            decoder_layers(t[0], layers, &lora, shape)
        } else {
            decoder_layers_portable(t[0], layers, &lora, shape)
        }
    };
    let rows = shape.n_shared + shape.lengths.iter().sum::<usize>();
    let inputs = [noise((rows, layers[0].qkv.dims().1), 1), (noise((1, n), 2) * 0.3).unwrap()];
    check("decoder_layers", &|t| run(t, true), &|t| run(t, false), &inputs);
}

/// For each range of rows, the corrections of all projections and what they are multiplied by.
fn row_corrections<'a>(
    lora: &'a [(Corrected, Tensor, Tensor)],
    ranges: &[(Range<usize>, f64)],
) -> RowCorrections<'a> {
    std::array::from_fn(|stack| {
        let own = || lora.iter().filter(move |((of, ..), ..)| *of == stack);
        let corrections = || own().map(|((_, start, _), a, b)| Correction { start: *start, a, b }).collect();
        let part = |(rows, scaling): &(Range<usize>, f64)| CorrectedRows {
            rows: rows.clone(),
            corrections: corrections(),
            scaling: *scaling,
        };
        ranges.iter().map(part).collect()
    })
}

#[test]
fn answered_rows_equal_their_twin_and_those_in_no_range_are_the_bases() {
    let layer = layer();
    let lora: Vec<_> = ALL
        .iter()
        .zip(20..)
        .map(|(&own, seed)| (own, noise((3, own.2.1), seed), noise((own.2.0, 3), seed + 20)))
        .collect();
    let none = RowCorrections::default();
    // Blocks of rows of two sequences at first, then fewer; the last of each step is the base's.
    let mut caches = vec![vec![CachedKeys::default(); 2]; 3];
    for (n, lengths) in [(100, [70, 30]), (14, [9, 5]), (2, [1, 1]), (4, [1, 3]), (7, [6, 1])] {
        let (x, shape) = (noise((n, 40), n as u32), shape(&lengths));
        let parts = row_corrections(&lora, &[(0..n / 2, 0.5), (n / 2..n - 1, 2.0)]);
        let mut passed = Vec::new();
        for (caches, (fast, parts)) in caches.iter_mut().zip([(true, &parts), (false, &parts), (true, &none)])
        {
            let mut keys: Vec<_> = caches.iter_mut().collect();
            let run = if fast { answer_layer } else { answer_layer_portable };
            passed.push(run(&x, &layer, parts, (&shape, &mut keys)).unwrap().to_vec2::<f32>().unwrap());
        }
        for (a, b) in passed[0].iter().zip(&passed[1]) {
            assert_close("answered", a, b, 2e-5);
        }
        assert_ne!(passed[0][0], passed[2][0]);
    }
    let x = noise((3, 40), 9);
    let alone = row_corrections(&lora, &[(0..1, 0.5)]);
    let run = |parts: &RowCorrections| {
        let mut caches = vec![CachedKeys::default(); 3];
        let mut keys: Vec<_> = caches.iter_mut().collect();
        answer_layer(&x, &layer, parts, (&shape(&[1, 1, 1]), &mut keys)).unwrap().to_vec2::<f32>().unwrap()
    };
    assert_eq!(run(&alone)[1..], run(&none)[1..], "a row in no range keeps every bit");
}
