//! What comes next in a signal, foretold from how it went so far: Burg's linear prediction.
//!
//! Used by `extrapolate`, once for the low and once for the high frequencies. Both channels share one
//! model, so that they stay together. The model is kept as reflection coefficients and run as a lattice,
//! which cannot become unstable by rounding: all of them are below 1. Allocates never.
//! Source: J. P. Burg (1975); J. Makhoul, "Stable and efficient lattice methods for linear prediction" (1977).

/// Largest reflection coefficient: a resonance may ring on for seconds, not for ever.
const LARGEST: f32 = 0.999_999;

/// Energy that is always there besides the signal's, about that of 24-bit quantisation: silence
/// divides nothing by zero.
const FLOOR: f32 = 1e-12;

/// A predictor of `ORDER` coefficients, learned from `N` frames of two channels.
pub struct Lattice<const N: usize, const ORDER: usize> {
    reflections: [f32; ORDER],
    /// Backward prediction errors of the newest frame, by order.
    backward: [[f32; ORDER]; 2],
    /// Where [`Lattice::learn`] computes: forward and backward errors of all frames.
    forward_errors: [[f32; N]; 2],
    backward_errors: [[f32; N]; 2],
}

impl<const N: usize, const ORDER: usize> Lattice<N, ORDER> {
    /// A predictor that foretells silence.
    pub fn new() -> Self {
        Lattice {
            reflections: [0.0; ORDER],
            backward: [[0.0; ORDER]; 2],
            forward_errors: [[0.0; N]; 2],
            backward_errors: [[0.0; N]; 2],
        }
    }

    /// Learns from the last `N` frames of a signal, oldest first. `5 · N · ORDER` multiplications per channel.
    pub fn learn(&mut self, signal: [&[f32; N]; 2]) {
        for (channel, signal) in signal.into_iter().enumerate() {
            self.forward_errors[channel] = *signal;
            self.backward_errors[channel] = *signal;
        }
        for order in 0..ORDER {
            // The backward errors move up by one frame with each order, so that what belongs together
            // lies at the same distance from the start of its slice.
            let last = N - 1 - order;
            let (mut product, mut energy) = (0.0, FLOOR);
            for channel in 0..2 {
                self.backward[channel][order] = self.backward_errors[channel][last];
                let forward = &self.forward_errors[channel][order + 1..];
                let backward = &self.backward_errors[channel][..last];
                product += multiply::<8>(forward, backward);
                energy += multiply::<8>(forward, forward) + multiply::<8>(backward, backward);
            }
            let reflection = (-2.0 * product / energy).clamp(-LARGEST, LARGEST);
            self.reflections[order] = reflection;
            for channel in 0..2 {
                let forward = &mut self.forward_errors[channel][order + 1..];
                let backward = &mut self.backward_errors[channel][..last];
                for (forward, backward) in forward.iter_mut().zip(backward) {
                    let before = *forward;
                    *forward += reflection * *backward;
                    *backward += reflection * before;
                }
            }
        }
    }

    /// The next frame, left and right, if nothing new happens.
    pub fn step(&mut self) -> [f32; 2] {
        let mut frame = [0.0; 2];
        for (frame, backward) in frame.iter_mut().zip(&mut self.backward) {
            for order in (0..ORDER).rev() {
                let reflection = self.reflections[order];
                *frame -= reflection * backward[order];
                if order + 1 < ORDER {
                    backward[order + 1] = backward[order] + reflection * *frame;
                }
            }
            backward[0] = *frame;
        }
        frame
    }
}

/// Sum of `x · y`; in lanes, which the compiler makes parallel.
pub fn multiply<const LANES: usize>(x: &[f32], y: &[f32]) -> f32 {
    let (x, x_rest) = x.as_chunks::<LANES>();
    let (y, y_rest) = y.as_chunks::<LANES>();
    let mut lanes = [0.0_f32; LANES];
    for (x, y) in x.iter().zip(y) {
        (0..LANES).for_each(|lane| lanes[lane] += x[lane] * y[lane]);
    }
    let rest: f32 = x_rest.iter().zip(y_rest).map(|(x, y)| x * y).sum();
    lanes.iter().sum::<f32>() + rest
}
