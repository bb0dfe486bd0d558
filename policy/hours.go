package policy

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// minutesOfDay is the end of a day: 24:00.
const minutesOfDay = 24 * 60

// maxWindowText bounds the text of one time window, in bytes.
const maxWindowText = 256

// Window is a time of the week on the clock of one zone, for example "Mon-Fri 09:00-17:00 Europe/Berlin".
type Window struct {
	days weekdays
	// from (inclusive) and until (exclusive) are minutes since midnight on the wall. until below from
	// stands for the next day.
	from, until int
	zone        *time.Location
	text        string
}

// weekdays has one bit for each day, Sunday the lowest, as in time.Weekday.
type weekdays uint8

func (d weekdays) has(day time.Weekday) bool { return d&(1<<day) != 0 }

// String returns the window as it was written.
func (w Window) String() string { return w.text }

// Contains reports whether t lies in the window. The wall clock of the window's zone decides: on the day
// a clock is set forward or back a window is an hour shorter or longer. A window that passes midnight
// belongs to the day on which it begins: "Fri 22:00-06:00" ends on Saturday morning.
func (w *Window) Contains(t time.Time) bool {
	t = t.In(w.zone)
	minute := t.Hour()*60 + t.Minute()
	today := t.Weekday()
	if w.from < w.until {
		return w.days.has(today) && w.from <= minute && minute < w.until
	}
	if minute >= w.from {
		return w.days.has(today)
	}
	yesterday := (today + 6) % 7
	return minute < w.until && w.days.has(yesterday)
}

// ParseWindow reads "DAYS HH:MM-HH:MM ZONE". DAYS is "daily" or a comma-separated list of days and
// ranges of days ("Mon-Fri", "Mon,Wed", "Fri-Mon"), in any case; the second time is exclusive and may be
// 24:00; ZONE is a name of the IANA time zone database ("Europe/Berlin", "UTC"). The error names the part
// that is wrong.
func ParseWindow(text string) (Window, error) {
	if len(text) > maxWindowText {
		return Window{}, fmt.Errorf("a time window is longer than %d bytes", maxWindowText)
	}
	fields := strings.Fields(text)
	if len(fields) != 3 {
		return Window{}, fmt.Errorf("%q is not a time window such as \"Mon-Fri 09:00-17:00 Europe/Berlin\"", text)
	}
	days, err := parseDays(fields[0])
	if err != nil {
		return Window{}, fmt.Errorf("%q: %w", text, err)
	}
	from, until, err := parseSpan(fields[1])
	if err != nil {
		return Window{}, fmt.Errorf("%q: %w", text, err)
	}
	zone, err := parseZone(fields[2])
	if err != nil {
		return Window{}, fmt.Errorf("%q: %w", text, err)
	}
	return Window{days: days, from: from, until: until, zone: zone, text: strings.Join(fields, " ")}, nil
}

func parseDays(text string) (weekdays, error) {
	if strings.EqualFold(text, "daily") {
		return 1<<7 - 1, nil
	}
	var days weekdays
	for part := range strings.SplitSeq(text, ",") {
		first, last, isRange := strings.Cut(part, "-")
		if !isRange {
			last = first
		}
		from, err := parseDay(first)
		if err != nil {
			return 0, err
		}
		until, err := parseDay(last)
		if err != nil {
			return 0, err
		}
		for day := from; ; day = (day + 1) % 7 {
			days |= 1 << day
			if day == until {
				break
			}
		}
	}
	return days, nil
}

func parseDay(text string) (time.Weekday, error) {
	for day := time.Sunday; day <= time.Saturday; day++ {
		if strings.EqualFold(text, day.String()[:3]) {
			return day, nil
		}
	}
	return 0, fmt.Errorf("unknown day %q", text)
}

func parseSpan(text string) (from, until int, err error) {
	first, last, ok := strings.Cut(text, "-")
	if !ok {
		return 0, 0, fmt.Errorf("%q is not a time range such as \"09:00-17:00\"", text)
	}
	if from, err = parseMinute(first); err != nil {
		return 0, 0, err
	}
	if until, err = parseMinute(last); err != nil {
		return 0, 0, err
	}
	if from == minutesOfDay {
		return 0, 0, errors.New("24:00 can only end a time range")
	}
	if from == until {
		return 0, 0, fmt.Errorf("time range %q is empty; the whole day is 00:00-24:00", text)
	}
	return from, until, nil
}

func parseMinute(text string) (int, error) {
	const form = "00:00"
	if len(text) != len(form) || text[2] != ':' {
		return 0, fmt.Errorf("%q is not a time such as \"09:00\"", text)
	}
	for _, i := range [...]int{0, 1, 3, 4} {
		if text[i] < '0' || text[i] > '9' {
			return 0, fmt.Errorf("%q is not a time such as \"09:00\"", text)
		}
	}
	hour := int(text[0]-'0')*10 + int(text[1]-'0')
	minute := int(text[3]-'0')*10 + int(text[4]-'0')
	total := hour*60 + minute
	if minute > 59 || total > minutesOfDay {
		return 0, fmt.Errorf("%q is not a time of day", text)
	}
	return total, nil
}

// parseZone refuses "Local": a policy must not mean another time on another node.
func parseZone(name string) (*time.Location, error) {
	if name == "" || strings.EqualFold(name, "Local") {
		return nil, fmt.Errorf("unknown time zone %q", name)
	}
	zone, err := time.LoadLocation(name)
	if err != nil {
		return nil, fmt.Errorf("unknown time zone %q", name)
	}
	return zone, nil
}
