// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Random numbers that are the same on every machine.
//!
//! SplitMix64 (Steele, Lea, Flood, 2014): an integer counter and a mixing function. Its state can
//! be made directly from a seed and a position, so job 7 000 000 of a stream costs as much as
//! job 0, and a plan needs no memory per job.

/// The counter's step: the golden ratio as a 64-bit fraction, made odd.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// A sequence of random numbers.
#[derive(Clone, Debug)]
pub struct Prng(u64);

impl Prng {
    /// The sequence that belongs to `seed` at the position `path`.
    pub fn at(seed: u64, path: &[u64]) -> Self {
        let mut state = mix(seed.wrapping_add(STEP));
        for &step in path {
            state = mix(state ^ step.wrapping_mul(STEP).wrapping_add(STEP));
        }
        Self(state)
    }

    /// The next 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(STEP);
        mix(self.0)
    }

    /// A number from 0 to `below - 1`; 0 where `below` is 0.
    ///
    /// Takes the high half of a product, which favours no number by more than `below / 2^64`.
    pub fn below(&mut self, below: u64) -> u64 {
        ((u128::from(self.next_u64()) * u128::from(below)) >> 64) as u64
    }
}

fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::Prng;

    #[test]
    fn equals_the_published_sequence() {
        // The first outputs of SplitMix64 from state 1234567, as its authors' program prints them.
        let mut random = Prng(1_234_567);
        let wanted = [
            6_457_827_717_110_365_317,
            3_203_168_211_198_807_973,
            9_817_491_932_198_370_423,
            4_593_380_528_125_082_431,
            16_408_922_859_458_223_821,
        ];
        for value in wanted {
            assert_eq!(random.next_u64(), value);
        }
    }

    #[test]
    fn positions_have_sequences_of_their_own() {
        let mut seen = std::collections::HashSet::new();
        for seed in 0..10 {
            for stream in 0..10 {
                for job in 0..100 {
                    assert!(seen.insert(Prng::at(seed, &[stream, job]).next_u64()));
                }
            }
        }
    }

    #[test]
    fn below_reaches_every_number_about_equally() {
        let mut random = Prng::at(1, &[]);
        let mut hits = [0_u32; 10];
        for _ in 0..10_000 {
            hits[usize::try_from(random.below(10)).expect("below ten")] += 1;
        }
        assert!(
            hits.iter().all(|hits| (850..1150).contains(hits)),
            "{hits:?}"
        );
        assert_eq!(random.below(0), 0);
        assert_eq!(random.below(1), 0);
    }
}
