package storage_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"coffer/storage"
	"coffer/storage/memory"
)

// All that belongs together goes into one Apply: after a power cut it is all there or nothing is.
func ExampleStorage() {
	ctx := context.Background()
	var s storage.Storage = memory.New()
	err := s.Apply(ctx, storage.Put("users/anna", []byte("{}")), storage.Put("groups/admins/anna", nil))
	if err != nil {
		log.Fatal(err)
	}
	names, err := s.List(ctx, "", "", 0)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(names)
	_, err = s.Get(ctx, "users/ben")
	fmt.Println(errors.Is(err, storage.ErrNotFound))
	// Output:
	// [groups/ users/]
	// true
}

// A View gives an engine a store of its own inside a larger one.
func ExampleView() {
	ctx := context.Background()
	base := memory.New()
	view := storage.NewView(base, "logical/kv/")
	if err := view.Apply(ctx, storage.Put("app", []byte("secret"))); err != nil {
		log.Fatal(err)
	}
	value, err := base.Get(ctx, "logical/kv/app")
	fmt.Println(string(value), err)
	// Output:
	// secret <nil>
}
