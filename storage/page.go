package storage

import "context"

// Pager is a Storage whose List sorts a whole folder for each page, and which can give pages at their own cost in an
// order of its own.
type Pager interface {
	// Page is what the function Page promises.
	Page(ctx context.Context, prefix, mark string, limit int) (names []string, next string, err error)
}

// Page returns some of the names one level below prefix, in no order that means anything, as List returns them
// otherwise. mark is "" for the first page and what the page before returned as next for a later one; next is "" after
// the last. A page has about limit names, which is above zero: a small folder may come whole. All pages together have
// every name once that is there throughout. Names that were listed may be removed meanwhile. The cost of a page
// does not depend on how many names the folder has.
func Page(ctx context.Context, s Storage, prefix, mark string, limit int) (names []string, next string, err error) {
	if p, ok := s.(Pager); ok {
		return p.Page(ctx, prefix, mark, limit)
	}
	names, err = s.List(ctx, prefix, mark, limit)
	if err == nil && len(names) == limit {
		next = names[limit-1]
	}
	return names, next, err
}

// pageSize is how many names the functions of this package read at once.
const pageSize = 512

// EachName calls visit with every name one level below prefix, folders ending in "/", in no order that means anything.
// visit may remove what it was called with. An error of visit ends it.
func EachName(ctx context.Context, s Storage, prefix string, visit func(name string) error) error {
	return eachPage(ctx, s, prefix, func(names []string) error {
		for _, name := range names {
			if err := visit(name); err != nil {
				return err
			}
		}
		return nil
	})
}

// eachPage calls visit with the names one level below prefix, some at a time.
func eachPage(ctx context.Context, s Storage, prefix string, visit func(names []string) error) error {
	for mark := ""; ; {
		names, next, err := Page(ctx, s, prefix, mark, pageSize)
		if err != nil {
			return err
		}
		if err := visit(names); err != nil || next == "" {
			return err
		}
		mark = next
	}
}
