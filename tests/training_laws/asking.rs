//! Does a model answer the same however the work is arranged?

use std::ops::ControlFlow;

use lorascope::cancel::Cancel;
use lorascope::model::Adapter;
use lorascope::model::decoder::{Decoder, KvCache, LoraRows};
use lorascope::model::generate::{Prompt, Sampling, generate};

use crate::double::{VOCAB, config, decoder, largest_difference, logits, trained, tuned_logits, values};

const A: [u32; 5] = [3, 17, 8, 44, 21];
const B: [u32; 9] = [12, 30, 9, 5, 40, 41, 2, 7, 33];
const C: [u32; 3] = [12, 30, 6];
/// Rounding: products of other shapes add in another order.
const CLOSE: f32 = 2e-5;

fn greedy(decoder: &Decoder, prompts: &[Prompt]) -> Vec<Vec<u32>> {
    let sampling = Sampling { max_tokens: 24, ..Sampling::default() };
    let go_on = &mut |_, _| ControlFlow::Continue(());
    generate(decoder, prompts, (&sampling, &[]), &Cancel::new(), go_on).unwrap()
}

fn argmax(logits: &[f32]) -> u32 {
    (0..logits.len()).fold(0, |best, i| if logits[i] > logits[best] { i } else { best }) as u32
}

/// The whole text is read anew for every token.
fn greedy_without_cache(decoder: &Decoder, prompt: &[u32], adapter: Option<&Adapter>) -> Vec<u32> {
    let mut tokens = prompt.to_vec();
    for _ in 0..24 {
        let all = match adapter {
            Some(adapter) => tuned_logits(decoder, &[&tokens], (adapter, 1.0)),
            None => logits(decoder, &[&tokens], None),
        };
        tokens.push(argmax(&all[all.len() - VOCAB..]));
    }
    tokens.split_off(prompt.len())
}

#[test]
fn cached_generation_equals_uncached() {
    let (decoder, adapter) = (decoder(), trained(21));
    for prompt in [&A[..], &B, &C] {
        let plain = greedy(&decoder, &[Prompt { tokens: prompt, lora: None }]);
        assert_eq!(plain[0], greedy_without_cache(&decoder, prompt, None));
        let tuned = greedy(&decoder, &[Prompt { tokens: prompt, lora: Some((&adapter, 1.0)) }]);
        assert_eq!(tuned[0], greedy_without_cache(&decoder, prompt, Some(&adapter)));
        assert_ne!(plain, tuned, "the adapter says nothing");
    }
}

#[test]
fn a_batch_answers_what_each_prompt_gets_alone() {
    let (decoder, one, two) = (decoder(), trained(22), trained(23));
    let prompts = [
        Prompt { tokens: &A, lora: None },
        Prompt { tokens: &B, lora: Some((&one, 1.0)) },
        Prompt { tokens: &C, lora: Some((&one, 1.0)) },
        Prompt { tokens: &B, lora: None },
        Prompt { tokens: &B, lora: Some((&two, 1.0)) },
        Prompt { tokens: &B, lora: Some((&two, 0.5)) },
    ];
    let together = greedy(&decoder, &prompts);
    for (prompt, answer) in prompts.iter().zip(&together) {
        assert_eq!(greedy(&decoder, std::slice::from_ref(prompt))[0], *answer);
    }
}

#[test]
fn a_shared_beginning_is_read_once_and_changes_nothing() {
    let (decoder, adapter) = (decoder(), trained(24));
    let beginning: Vec<u32> = (1..20).collect();
    let full: Vec<Vec<u32>> = [&A[..], &B, &C].iter().map(|end| [&beginning, *end].concat()).collect();
    let prompts: Vec<_> = full.iter().map(|tokens| Prompt { tokens, lora: Some((&adapter, 1.0)) }).collect();
    let together = greedy(&decoder, &prompts);
    for (tokens, answer) in full.iter().zip(&together) {
        assert_eq!(*answer, greedy_without_cache(&decoder, tokens, Some(&adapter)));
    }
}

#[test]
fn rows_of_several_adapters_in_one_pass_equal_separate_passes() {
    let (decoder, one, two) = (decoder(), trained(25), trained(26));
    let lora = [
        LoraRows { rows: 5..14, adapter: &one, scale: 1.0 },
        LoraRows { rows: 17..26, adapter: &two, scale: 0.7 },
    ];
    let mut caches = [(); 4].map(|()| KvCache::new(&config()));
    let mut caches: Vec<&mut KvCache> = caches.iter_mut().collect();
    let (tokens, lengths) = ([&A[..], &B, &C, &B].concat(), [A.len(), B.len(), C.len(), B.len()]);
    let hidden = decoder.forward_cached(&tokens, &lengths, &mut caches, &lora).unwrap();
    let rows: Vec<u32> = (0..tokens.len() as u32).collect();
    let together = values(&decoder.logits(&hidden, &rows).unwrap());
    let apart = [
        logits(&decoder, &[&A], None),
        tuned_logits(&decoder, &[&B], (&one, 1.0)),
        logits(&decoder, &[&C], None),
        tuned_logits(&decoder, &[&B], (&two, 0.7)),
    ];
    assert!(largest_difference(&together, &apart.concat()) < CLOSE);
    assert!(largest_difference(&apart[1], &apart[3]) > 1e-2, "the adapters don't differ");
}

#[test]
fn packed_sequences_do_not_see_each_other() {
    let decoder = decoder();
    let together = logits(&decoder, &[&A, &B, &C], None);
    let apart = [&A[..], &B, &C].map(|s| logits(&decoder, &[s], None)).concat();
    assert!(largest_difference(&together, &apart) < CLOSE);
    // Whatever stands before and behind, the sequence between keeps every bit.
    let other: Vec<u32> = A.iter().map(|t| t + 1).collect();
    let changed = logits(&decoder, &[&other, &B, &[9, 9, 9]], None);
    let between = 5 * VOCAB..14 * VOCAB;
    assert_eq!(together[between.clone()], changed[between]);
    assert_ne!(together[..5 * VOCAB], changed[..5 * VOCAB]);
}

#[test]
fn a_text_read_in_pieces_equals_the_text_read_at_once() {
    let (decoder, adapter) = (decoder(), trained(27));
    let whole = tuned_logits(&decoder, &[&B], (&adapter, 1.0));
    let mut cache = KvCache::new(&config());
    let mut pieces = Vec::new();
    for piece in [&B[..2], &B[2..3], &B[3..8], &B[8..]] {
        let lora = [LoraRows { rows: 0..piece.len(), adapter: &adapter, scale: 1.0 }];
        let hidden = decoder.forward_cached(piece, &[piece.len()], &mut [&mut cache], &lora).unwrap();
        let rows: Vec<u32> = (0..piece.len() as u32).collect();
        pieces.extend(values(&decoder.logits(&hidden, &rows).unwrap()));
    }
    assert_eq!(cache.n_tokens(), B.len());
    assert!(largest_difference(&whole, &pieces) < CLOSE);
}
