//! Figures over time as an SVG, one panel a series, times of an open snapshot shaded.

use std::fmt::Write as _;

use crate::sample::Sample;

const WIDTH: f64 = 900.0;
const LEFT: f64 = 70.0;
const PANEL: f64 = 100.0;
const GAP: f64 = 36.0;

/// The whole picture.
pub fn draw(title: &str, samples: &[Sample]) -> String {
    let height = 40.0 + (PANEL + GAP) * Sample::SERIES.len() as f64;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"{LEFT}\" y=\"20\" font-size=\"15\">{title}; grey: a snapshot is open</text>\n"
    );
    let end = samples.last().map_or(1.0, |sample| sample.seconds);
    for (n, (name, of)) in Sample::SERIES.into_iter().enumerate() {
        let values: Vec<f64> = samples.iter().map(of).collect();
        panel(&mut svg, 50.0 + (PANEL + GAP) * n as f64, name, samples, &values, end);
    }
    svg.push_str("</svg>\n");
    svg
}

fn panel(svg: &mut String, top: f64, name: &str, samples: &[Sample], values: &[f64], end: f64) {
    let most = values.iter().copied().fold(0.0, f64::max);
    let scale = if most > 0.0 { most } else { 1.0 };
    let x = |seconds: f64| LEFT + (WIDTH - LEFT - 10.0) * seconds / end;
    let y = |value: f64| top + PANEL * (1.0 - value / scale);
    let mut from = 0.0;
    for sample in samples {
        if sample.reading {
            let (left, right) = (x(from), x(sample.seconds));
            put(
                svg,
                &format!(
                    "<rect x=\"{left:.1}\" y=\"{top}\" width=\"{:.1}\" height=\"{PANEL}\" fill=\"#eee\"/>",
                    right - left
                ),
            );
        }
        from = sample.seconds;
    }
    let bottom = top + PANEL;
    let right = WIDTH - 10.0;
    put(svg, &format!("<path d=\"M{LEFT} {top}V{bottom}H{right}\" fill=\"none\" stroke=\"#888\"/>"));
    put(svg, &format!("<text x=\"{LEFT}\" y=\"{top:.1}\" dx=\"4\" dy=\"-4\">{name}</text>"));
    put(
        svg,
        &format!(
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{most:.1}</text>",
            LEFT - 4.0,
            top + 10.0
        ),
    );
    put(svg, &format!("<text x=\"{:.1}\" y=\"{bottom}\" text-anchor=\"end\">0</text>", LEFT - 4.0));
    put(
        svg,
        &format!(
            "<text x=\"{right}\" y=\"{:.1}\" text-anchor=\"end\">{:.0} min</text>",
            bottom + 14.0,
            end / 60.0
        ),
    );
    let points = samples
        .iter()
        .zip(values)
        .map(|(sample, value)| format!("{:.1},{:.1}", x(sample.seconds), y(*value)));
    let points = points.collect::<Vec<_>>().join(" ");
    put(
        svg,
        &format!("<polyline points=\"{points}\" fill=\"none\" stroke=\"#1565c0\" stroke-width=\"1.5\"/>"),
    );
}

fn put(svg: &mut String, element: &str) {
    // writing to a String can't fail
    let _ = writeln!(svg, "{element}");
}
