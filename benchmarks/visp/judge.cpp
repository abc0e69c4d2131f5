// ViSP's own simulator, luminance feature and Levenberg-Marquardt law, on the pictures and poses
// that judge.py names.
//
//   judge MODE TEXTURE.pgm PITCH WIDTH HEIGHT FX FY CX CY DEPTH GAIN MU STEPS  < poses
//
// PITCH: metres a texel. Poses on standard input: the goal's T_world_cam, then starts, 16 numbers
// each, row by row. MODE render: the pictures' bytes, one a line. features: for each start its s
// (bytes), then L of the start, one row a line. servo: for each start and step T_world_cam and
// v_cam, L at the goal. speed: seconds of STEPS steps from the first start, of its STEPS pictures.
#include <chrono>
#include <cstdio>
#include <iostream>
#include <string>
#include <vector>

#include <visp3/core/vpCameraParameters.h>
#include <visp3/core/vpExponentialMap.h>
#include <visp3/core/vpHomogeneousMatrix.h>
#include <visp3/core/vpImage.h>
#include <visp3/io/vpImageIo.h>
#include <visp3/robot/vpImageSimulator.h>
#include <visp3/visual_features/vpFeatureLuminance.h>

struct Scene {
    vpImage<unsigned char> texture, picture;
    vpImageSimulator simulator;
    vpCameraParameters camera;
    Scene(const std::string &file, double pitch, unsigned width, unsigned height, double fx,
          double fy, double cx, double cy)
        : picture(height, width), camera(fx, fy, cx, cy) {
        vpImageIo::read(texture, file);
        // The plane's corners are the centres of the corner texels; the scene's centre is the
        // origin.
        const double x = (texture.getWidth() - 1) * pitch / 2,
                     y = (texture.getHeight() - 1) * pitch / 2;
        const double corners[4][2] = {{-x, -y}, {x, -y}, {x, y}, {-x, y}};
        std::vector<vpPoint> points;
        for (const auto &corner : corners) {
            vpPoint point;
            point.setWorldCoordinates(corner[0], corner[1], 0);
            points.push_back(point);
        }
        simulator.setInterpolationType(vpImageSimulator::BILINEAR_INTERPOLATION);
        simulator.setCleanPreviousImage(true, vpColor::white);
        simulator.init(texture, points);
    }
    void look(const vpHomogeneousMatrix &T_world_cam) {
        picture = 255;
        simulator.setCameraPosition(T_world_cam.inverse());
        simulator.getImage(picture, camera);
    }
};

static bool read(vpHomogeneousMatrix &T) {
    for (unsigned i = 0; i < 4; i++)
        for (unsigned j = 0; j < 4; j++)
            if (!(std::cin >> T[i][j]))
                return false;
    return true;
}

template <class Values> static void print(const Values &values, unsigned n) {
    for (unsigned i = 0; i < n; i++)
        std::printf(i ? " %.9g" : "%.9g", static_cast<double>(values.data[i]));
    std::printf("\n");
}

int main(int argc, char **argv) {
    if (argc != 14) {
        std::fprintf(stderr, "judge: see the comment at the top of judge.cpp\n");
        return 2;
    }
    const std::string mode = argv[1];
    auto number = [&](int i) { return std::stod(argv[i]); };
    const unsigned width = std::stoul(argv[4]), height = std::stoul(argv[5]);
    const double depth = number(10), gain = number(11), mu = number(12);
    const int steps = std::stoi(argv[13]);
    Scene scene(argv[2], number(3), width, height, number(6), number(7), number(8), number(9));
    vpHomogeneousMatrix T_goal, T;
    if (!read(T_goal))
        return 2;
    vpFeatureLuminance s, s_goal;
    for (vpFeatureLuminance *feature : {&s, &s_goal}) {
        feature->init(height, width, depth);
        feature->setCameraParameters(scene.camera);
    }
    scene.look(T_goal);
    s_goal.buildFrom(scene.picture);
    vpMatrix L, L_goal;
    s_goal.interaction(L_goal);
    const vpMatrix H = L_goal.AtA();
    vpMatrix damped = H;
    for (unsigned i = 0; i < 6; i++)
        damped[i][i] += mu * H[i][i];
    const vpMatrix law = damped.inverseByLU();
    vpColVector error;
    auto step = [&]() {
        scene.look(T);
        s.buildFrom(scene.picture);
        s.error(s_goal, error);
        vpColVector v = law * (L_goal.t() * error);
        return vpColVector(v * -gain);
    };
    while (read(T)) {
        if (mode == "render") {
            scene.look(T);
            for (unsigned i = 0; i < width * height; i++)
                std::printf(i ? " %d" : "%d", scene.picture.bitmap[i]);
            std::printf("\n");
        } else if (mode == "features") {
            scene.look(T);
            s.buildFrom(scene.picture);
            s.interaction(L);
            s.error(s_goal, error);
            print(error, error.size());
            print(L, L.getRows() * 6);
        } else if (mode == "servo") {
            for (int k = 0; k < steps; k++) {
                const vpColVector v = step();
                print(T, 16);
                print(v, 6);
                T = T * vpExponentialMap::direct(v, 1.0);
            }
            print(T, 16);
        } else if (mode == "speed") {
            const vpHomogeneousMatrix start = T;
            const auto begin = std::chrono::steady_clock::now();
            for (int k = 0; k < steps; k++)
                T = T * vpExponentialMap::direct(step(), 1.0);
            const auto middle = std::chrono::steady_clock::now();
            for (int k = 0; k < steps; k++)
                scene.look(start);
            const std::chrono::duration<double> servoing = middle - begin,
                                                looking = std::chrono::steady_clock::now() - middle;
            std::printf("%.9g %.9g\n", servoing.count(), looking.count());
            return 0;
        } else
            return 2;
    }
    return 0;
}
