package ceremony

import (
	"errors"
	"slices"

	"coffer/barrier/seal"
	"coffer/barrier/secret"
)

// quorum is the shares given so far in one attempt. Shares that fit the marks stay until the key is complete. Of
// others it keeps as many as Vault would count, fewer than the threshold, so that it answers as Vault does; they
// never take the place of one that fits.
type quorum struct {
	fit, unfit []secret.Key
}

// Verdict is what became of a share.
type Verdict int

// Verdicts.
const (
	// Repeated is a share that was given before, or that was not taken because of an error.
	Repeated Verdict = iota
	// Unfit is none of the operators' shares.
	Unfit
	// Fit is one of the operators' shares, as far as there are marks to tell by.
	Fit
	// Complete is Fit, and the last one that was needed.
	Complete
)

// add takes a share. It returns Repeated, Unfit or Fit.
func (q *quorum) add(share secret.Key, marks *seal.Marks) Verdict {
	q.dropReplaced(marks)
	known := false
	for _, list := range [][]secret.Key{q.fit, q.unfit} {
		for _, s := range list {
			known = s.Equal(share) || known
		}
	}
	switch {
	case known:
		return Repeated
	case marks.Fit(share):
		q.fit = append(q.fit, share)
		return Fit
	default:
		q.unfit = append(q.unfit, share)
		return Unfit
	}
}

// progress is how many shares clients are told of. After combine it is below the threshold.
func (q *quorum) progress() int { return len(q.fit) + len(q.unfit) }

// clear zeroes and drops all shares.
func (q *quorum) clear() {
	q.dropUnfit()
	for _, s := range q.fit {
		s.Zero()
	}
	q.fit = nil
}

// dropReplaced drops shares that fitted when they were given, and that a rekey has made worthless meanwhile.
func (q *quorum) dropReplaced(marks *seal.Marks) {
	q.fit = slices.DeleteFunc(q.fit, func(s secret.Key) bool {
		if marks.Fit(s) {
			return false
		}
		s.Zero()
		return true
	})
}

func (q *quorum) dropUnfit() {
	for _, s := range q.unfit {
		s.Zero()
	}
	q.unfit = nil
}

// combine makes the key once threshold shares were given; open tells whether it is the right one, with a
// *wrongKeyError when it is not, and keeps no part of it. verdict is that of the last share. It reports whether the
// key is complete: then no shares are left.
//
// When the key is wrong, or open fails otherwise, the shares that fit stay. An error is about the last share: who
// gave one that fits is not told about those of others.
func (q *quorum) combine(threshold int, verdict Verdict, open func(secret.Key) error) (complete bool, err error) {
	given := q.fit
	switch {
	case q.progress() < threshold:
		return false, nil
	case len(q.fit) >= threshold:
	case verdict == Unfit:
		// Marks that are damaged are no reason to refuse the right key.
		given = append(given[:len(given):len(given)], q.unfit...)
	default:
		q.unfit[0].Zero()
		q.unfit = q.unfit[1:]
		return false, nil
	}
	key, err := seal.Combine(given)
	if err == nil {
		err = open(key)
	}
	key.Zero()
	switch {
	case err == nil:
		q.clear()
		return true, nil
	case len(q.fit) < threshold:
	case errors.As(err, new(*wrongKeyError)), errors.Is(err, seal.ErrShares):
		q.clear() // without marks nobody knows which one is wrong
	default:
		last := len(q.fit) - 1
		q.fit[last].Zero()
		q.fit = q.fit[:last] // so that it can be given again
	}
	q.dropUnfit()
	return false, err
}
