//! Where does everything go? The places depend on the size of the screen alone, so nothing moves
//! when a number gets longer.

use ratatui::layout::Rect;

/// The smallest screen that is drawn on.
pub const SMALLEST: (u16, u16) = (60, 18);

/// The places on the screen. What does not fit has no place; on small screens things go in this
/// order: chart of recall, chart of perplexity, second header line, strip of facts, gaps, the sentence, passages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) header: Rect,
    /// Everything between header and ask line.
    pub(super) middle: Rect,
    pub(super) loss: Rect,
    pub(super) perplexity: Option<Rect>,
    pub(super) recall_chart: Option<Rect>,
    pub(super) recall: Rect,
    /// The strip of facts.
    pub(super) facts: Option<Rect>,
    pub(super) sentence: Option<Rect>,
    pub(super) ask: Rect,
    pub(super) answers: [Rect; 2],
    /// Everything between ask line and status line, or header and status line.
    pub(super) body: Rect,
    pub(super) status: Rect,
}

/// Gap between charts.
const GAP: u16 = 2;

/// The places on a screen of this size; `None` where it is too small.
pub(super) fn layout(area: Rect) -> Option<Layout> {
    let (w, h) = (area.width, area.height);
    if w < SMALLEST.0 || h < SMALLEST.1 {
        return None;
    }
    let mut rest = area;
    let header = top(&mut rest, if h >= 30 && w >= 100 { 2 } else { 1 });
    let status = bottom(&mut rest, 1);
    let body = rest;
    top(&mut rest, u16::from(h >= 40));
    let charts_height = match h {
        0..=20 => 6,
        21..=29 => 8,
        _ => rest.height * 2 / 5,
    };
    let charts = top(&mut rest, charts_height);
    top(&mut rest, u16::from(h >= 40));
    let recall = top(&mut rest, 1);
    let facts = (h >= 30).then(|| top(&mut rest, 1));
    let sentence = (h >= 22).then(|| top(&mut rest, if h >= 30 { 2 } else { 1 }));
    top(&mut rest, u16::from(h >= 40));
    let middle = Rect { height: rest.y - body.y, ..body };
    let ask = top(&mut rest, 1);
    top(&mut rest, u16::from(h >= 40));
    let (loss, perplexity, recall_chart) = split_charts(charts);
    let left = Rect { width: w / 2, ..rest };
    let right = Rect { x: left.right(), width: w - left.width, ..rest };
    let answers = [left, right];
    Some(Layout {
        header,
        middle,
        loss,
        perplexity,
        recall_chart,
        recall,
        facts,
        sentence,
        ask,
        answers,
        body,
        status,
    })
}

/// The charts, left to right: loss, then perplexity and recall where they fit.
fn split_charts(area: Rect) -> (Rect, Option<Rect>, Option<Rect>) {
    let w = area.width;
    let part = |x: u16, width: u16| Rect { x: area.x + x, width, ..area };
    if w >= 160 {
        let (loss, rest) = (w * 2 / 5, w - w * 2 / 5 - 2 * GAP);
        let perplexity = rest / 2;
        let recall = loss + perplexity + 2 * GAP;
        (part(0, loss), Some(part(loss + GAP, perplexity)), Some(part(recall, w - recall)))
    } else if w >= 100 {
        let loss = (w - GAP) / 2;
        (part(0, loss), Some(part(loss + GAP, w - GAP - loss)), None)
    } else {
        (area, None, None)
    }
}

fn top(rest: &mut Rect, height: u16) -> Rect {
    let height = height.min(rest.height);
    let taken = Rect { height, ..*rest };
    (rest.y, rest.height) = (rest.y + height, rest.height - height);
    taken
}

fn bottom(rest: &mut Rect, height: u16) -> Rect {
    let height = height.min(rest.height);
    rest.height -= height;
    Rect { y: rest.bottom(), height, ..*rest }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_overlaps_and_the_essential_parts_are_always_there() {
        for w in 60..=220 {
            for h in 18..=80 {
                let area = Rect::new(0, 0, w, h);
                let places = layout(area).unwrap();
                let mut all = vec![places.header, places.loss, places.recall, places.ask, places.status];
                all.extend(places.answers);
                all.extend(
                    [places.perplexity, places.recall_chart, places.facts, places.sentence]
                        .into_iter()
                        .flatten(),
                );
                for (i, one) in all.iter().enumerate() {
                    assert_eq!(one.intersection(area), *one, "{w}x{h}");
                    assert!(!one.is_empty(), "{w}x{h}: {i}");
                    assert!(all[i + 1..].iter().all(|other| !one.intersects(*other)), "{w}x{h}: {i}");
                }
                assert!(places.loss.height >= 6 && places.answers[0].height >= 7, "{w}x{h}");
            }
        }
        assert_eq!(layout(Rect::new(0, 0, 59, 40)), None);
        assert_eq!(layout(Rect::new(0, 0, 200, 17)), None);
    }
}
