// A reverse proxy of Go's standard library that looks the app up by its name:
// what a router in Go pays before it does anything of its own.
//
//	go_proxy LISTEN FIRST-BACKEND-PORT BACKENDS HOSTS STEP STEP
package main

import (
	"fmt"
	"log"
	"math/rand/v2"
	"net/http"
	"net/http/httputil"
	"os"
	"strconv"
	"time"
)

func number(position int) int {
	value, err := strconv.Atoi(os.Args[position])
	if err != nil {
		log.Fatal(err)
	}
	return value
}

func main() {
	first, backends, hosts := number(2), number(3), number(4)
	steps := []int{0, number(5), number(6)}
	apps := make(map[string][]string, hosts)
	for app := range hosts {
		name := fmt.Sprintf("h%d.apps.test", app)
		for _, step := range steps {
			apps[name] = append(apps[name], fmt.Sprintf("127.0.0.1:%d", first+(app+step)%backends))
		}
	}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(request *httputil.ProxyRequest) {
			instances := apps[request.In.Host]
			request.Out.URL.Scheme = "http"
			request.Out.URL.Host = instances[rand.IntN(len(instances))]
			request.Out.Host = request.In.Host
			request.SetXForwarded()
		},
		Transport: &http.Transport{
			MaxIdleConns:        4096,
			MaxIdleConnsPerHost: 1024,
			IdleConnTimeout:     5 * time.Minute,
			DisableCompression:  true,
		},
	}
	front := func(answer http.ResponseWriter, request *http.Request) {
		if len(apps[request.Host]) == 0 {
			http.NotFound(answer, request)
			return
		}
		proxy.ServeHTTP(answer, request)
	}
	log.Fatal(http.ListenAndServe(os.Args[1], http.HandlerFunc(front)))
}
