//! How much of what was heard the senders explain: a joint least-squares fit.
//!
//! Before it: what a box heard, and every sender's sound at the delay of its track. After it: the
//! level of each sender's part, and what is left when all parts are subtracted. Each sender passes a
//! short filter of its own, fitted over the whole run: 15 numbers against a million frames cannot
//! invent what was not heard, yet allow for a constant gain, a codec's filtering, and a fraction of
//! a frame of constant delay.

/// Taps of each sender's filter, in frames, around its delay; odd.
const TAPS: usize = 15;
/// Added to each sender's energy in the equations, relative to it: −50 dB of white noise, so that
/// bands in which a sender is silent do not decide anything.
const RIDGE: f64 = 1e-5;

/// A mix taken apart.
#[derive(Clone, Debug, PartialEq)]
pub struct Fit {
    /// Each sender's part, filtered: what it adds to the mix.
    pub parts: Vec<Vec<f32>>,
    /// What is left of the mix.
    pub rest: Vec<f32>,
}

/// Fits `mix` as the sum of the `aligned` signals, each filtered, and subtracts it. All are equally
/// long.
pub fn take_apart(mix: &[f32], aligned: &[Vec<f32>]) -> Fit {
    let filters = solve_for_filters(mix, aligned);
    let mut rest = mix.to_vec();
    let mut parts = Vec::with_capacity(aligned.len());
    for (signal, filter) in aligned.iter().zip(&filters) {
        let part = filtered(signal, filter);
        rest.iter_mut().zip(&part).for_each(|(rest, part)| *rest -= part);
        parts.push(part);
    }
    Fit { parts, rest }
}

/// A filtered signal; tap `k` adds what was `k − TAPS/2` frames earlier.
fn filtered(signal: &[f32], filter: &[f32; TAPS]) -> Vec<f32> {
    let mut sum = vec![0.0; signal.len()];
    for (k, tap) in filter.iter().enumerate() {
        let (out, frames) = match k.checked_sub(TAPS / 2) {
            Some(later) => (&mut sum[later.min(signal.len())..], signal),
            None => (&mut sum[..], &signal[(TAPS / 2 - k).min(signal.len())..]),
        };
        out.iter_mut().zip(frames).for_each(|(out, frame)| *out += tap * frame);
    }
    sum
}

/// The normal equations of all filters together. Their entries are correlations of signals, which
/// depend on the difference of two taps only.
fn solve_for_filters(mix: &[f32], aligned: &[Vec<f32>]) -> Vec<[f32; TAPS]> {
    let size = aligned.len() * TAPS;
    let mut matrix = vec![vec![0.0; size]; size];
    let mut right = vec![0.0; size];
    for (s, signal) in aligned.iter().enumerate() {
        let with_mix = correlation(signal, mix, TAPS / 2);
        right[s * TAPS..][..TAPS].copy_from_slice(&with_mix);
        for (t, other) in aligned.iter().enumerate().skip(s) {
            let with_other = correlation(signal, other, TAPS - 1);
            for (k, m) in (0..TAPS).flat_map(|k| (0..TAPS).map(move |m| (k, m))) {
                matrix[s * TAPS + k][t * TAPS + m] = with_other[TAPS - 1 + k - m];
                matrix[t * TAPS + m][s * TAPS + k] = with_other[TAPS - 1 + k - m];
            }
        }
        let ridge = RIDGE * matrix[s * TAPS][s * TAPS] + f64::MIN_POSITIVE;
        for (k, row) in matrix.iter_mut().enumerate().skip(s * TAPS).take(TAPS) {
            row[k] += ridge;
        }
    }
    solve(matrix, &mut right);
    right.chunks_exact(TAPS).map(|taps| std::array::from_fn(|k| taps[k] as f32)).collect()
}

/// Sums of `a[n]·b[n + lag]` for lags from `−most` to `most`.
fn correlation(a: &[f32], b: &[f32], most: usize) -> Vec<f64> {
    let lags = 0..=2 * most;
    let after = |signal, skipped| <[f32]>::get(signal, skipped..).unwrap_or_default();
    lags.map(|lag| dot(after(a, most.saturating_sub(lag)), after(b, lag.saturating_sub(most)))).collect()
}

/// Sum of products over the shorter length: short sums in 32 bits, eight side by side, their total in 64.
fn dot(a: &[f32], b: &[f32]) -> f64 {
    let short = a.len().min(b.len());
    let pairs = a[..short].chunks(512).zip(b[..short].chunks(512));
    pairs.map(|(a, b)| f64::from(short_dot(a, b))).sum()
}

/// Sum of products of a few hundred pairs.
fn short_dot(a: &[f32], b: &[f32]) -> f32 {
    let (a, a_rest) = a.as_chunks::<8>();
    let (b, b_rest) = b.as_chunks::<8>();
    let mut sums = [0.0_f32; 8];
    for (a, b) in a.iter().zip(b) {
        for n in 0..8 {
            sums[n] += a[n] * b[n];
        }
    }
    sums.iter().sum::<f32>() + a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum::<f32>()
}

/// Solves a symmetric, positive definite system in place by Cholesky's decomposition.
fn solve(mut matrix: Vec<Vec<f64>>, right: &mut [f64]) {
    for i in 0..right.len() {
        for j in 0..=i {
            let known: f64 = (0..j).map(|k| matrix[i][k] * matrix[j][k]).sum();
            let left = matrix[i][j] - known;
            matrix[i][j] = if i == j { left.max(f64::MIN_POSITIVE).sqrt() } else { left / matrix[j][j] };
        }
    }
    for i in 0..right.len() {
        let known: f64 = (0..i).map(|k| matrix[i][k] * right[k]).sum();
        right[i] = (right[i] - known) / matrix[i][i];
    }
    for i in (0..right.len()).rev() {
        let known: f64 = (i + 1..right.len()).map(|k| matrix[k][i] * right[k]).sum();
        right[i] = (right[i] - known) / matrix[i][i];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn energy(frames: &[f32]) -> f64 {
        frames.iter().map(|frame| f64::from(*frame).powi(2)).sum()
    }

    /// Noise with no repetition in sight: fractions of multiples of squares.
    fn noise(seed: f64) -> Vec<f32> {
        (0..50_003).map(|n| ((f64::from(n).powi(2) * seed).fract() - 0.5) as f32).collect()
    }

    #[test]
    fn two_filtered_signals_are_taken_apart() {
        let (a, b) = (noise(0.618_033_988_7), noise(0.414_213_562_3));
        // One delayed by two frames and halved, one early by three frames and turned over.
        let mix: Vec<f32> = (0..a.len())
            .map(|n| 0.5 * if n < 2 { 0.0 } else { a[n - 2] } - b.get(n + 3).unwrap_or(&0.0))
            .collect();
        let fit = take_apart(&mix, &[a.clone(), b.clone()]);
        assert!(energy(&fit.rest) < 1e-6 * energy(&mix));
        assert!((energy(&fit.parts[0]) / energy(&a) - 0.25).abs() < 1e-3);
        assert!((energy(&fit.parts[1]) / energy(&b) - 1.0).abs() < 1e-3);
    }

    #[test]
    fn what_was_not_heard_cannot_be_fitted() {
        let mix = noise(0.618_033_988_7);
        let fit = take_apart(&mix, &[noise(0.414_213_562_3), vec![0.0; mix.len()]]);
        assert!(energy(&fit.parts[0]) < 1e-3 * energy(&mix), "30 dB below at a second of noise");
        assert_eq!(energy(&fit.parts[1]), 0.0, "silence has no part");
        assert!(energy(&fit.rest) > 0.999 * energy(&mix));
    }

    #[test]
    fn signals_shorter_than_the_filter_do_no_harm() {
        let fit = take_apart(&[0.5, 0.5], &[vec![1.0, -1.0]]);
        assert_eq!((fit.parts[0].len(), fit.rest.len()), (2, 2));
        assert!(take_apart(&[], &[]).rest.is_empty());
    }
}
